"""Random programs that use files in every way Python has: the results of the calls tell one view from another."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import trio

from trioagent._config import SandboxLimits
from trioagent.sandbox import open_sandbox

NOTES = {
    "user.md": "# User\n- name: Ana\n",
    "a/one.md": "one",
    "a/b/two.md": "two",
    "a/b/c/three.md": "three",
    "b/four.md": "4" * 9000,
    "c.d/five.md": "five\nlines\n",
}
LINKS = {"link.md": "a/one.md", "folder": "a/b", "a/up.md": "../user.md", "broken.md": "nowhere.md", "loop": "loop"}

PROGRAM = """
import errno, glob, io, os, pathlib, random, shutil, stat
rnd = random.Random(SEED)
NAMES = ["a", "b", "c.d", "new", "one.md", "two.md", "x.md", "user.md", "link.md", "folder", "up.md", ".", ".."]
log = []

def path():
    text = "/".join(rnd.choice(NAMES) for _ in range(rnd.choice((1, 1, 2, 2, 3))))
    return rnd.choice(("", "", "", "/", "./")) + text + rnd.choice(("", "", "", "", "/"))

def kinds(info):
    return stat.S_IFMT(info.st_mode), info.st_size if stat.S_ISREG(info.st_mode) else None

def in_folder(use):
    fd = os.open(path(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        return use(fd)
    finally:
        os.close(fd)

def write(mode):
    with open(path(), mode) as file:
        return file.write("w" * rnd.choice((0, 1, 40)))

def update(flags):
    fd = os.open(path(), flags, 0o644)
    try:
        if flags & (os.O_WRONLY | os.O_RDWR):
            os.pwrite(fd, b"zz", rnd.choice((0, 3)))
        return os.fstat(fd).st_size
    finally:
        os.close(fd)

def seen(entries):
    return sorted((entry.name, entry.path, entry.is_dir(), entry.is_file(), entry.is_symlink(),
                   kinds(entry.stat(follow_symlinks=False))) for entry in entries)

def reader_keeps_old():
    target = path()
    with open(target, "r+b") as writer, open(target, "rb") as reader:
        writer.write(b"beginning")
        writer.flush()
        os.replace(target, rnd.choice(("x.md", "a/x.md")))
        return len(reader.read())

def times():
    here, there = path(), path()
    before = os.stat(here)
    os.rename(here, there)
    after = os.stat(there)
    return stat.S_ISREG(before.st_mode) and before.st_mtime_ns == after.st_mtime_ns

OPERATIONS = [
    lambda: open(path()).read()[:20], lambda: write("w"), lambda: write("a"), lambda: write("x"),
    lambda: write("r+"), lambda: update(os.O_RDWR), lambda: update(os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    lambda: update(os.O_RDWR | os.O_CREAT | os.O_TRUNC), lambda: update(os.O_RDONLY | os.O_NOFOLLOW),
    lambda: os.unlink(path()), lambda: os.remove(path()), lambda: os.mkdir(path()), lambda: os.rmdir(path()),
    lambda: os.rename(path(), path()), lambda: os.replace(path(), path()), lambda: os.truncate(path(), 5),
    lambda: os.makedirs(path(), exist_ok=True), lambda: os.removedirs(path()), lambda: os.renames(path(), path()),
    lambda: sorted(os.listdir(path())), lambda: sorted(os.listdir(os.fsencode(path()))),
    lambda: seen(os.scandir(path())), lambda: in_folder(lambda fd: seen(os.scandir(fd))),
    lambda: kinds(os.stat(path())), lambda: kinds(os.lstat(path())), lambda: os.readlink(path()),
    lambda: in_folder(lambda fd: kinds(os.stat(rnd.choice(NAMES), dir_fd=fd))),
    lambda: in_folder(lambda fd: os.close(os.open(rnd.choice(NAMES), os.O_RDONLY, dir_fd=fd))),
    lambda: in_folder(lambda fd: os.unlink(rnd.choice(NAMES), dir_fd=fd)),
    lambda: in_folder(lambda fd: os.mkdir(rnd.choice(NAMES), dir_fd=fd)),
    lambda: in_folder(lambda fd: os.rename(rnd.choice(NAMES), path(), src_dir_fd=fd)),
    lambda: in_folder(lambda fd: sorted(os.listdir(fd))),
    lambda: (os.path.exists(path()), os.path.isdir(path()), os.path.isfile(path()), os.path.islink(path())),
    lambda: os.path.realpath(path()), lambda: os.access(path(), os.R_OK | os.W_OK),
    lambda: os.path.samefile(path(), path()), lambda: os.chdir(path()), lambda: os.chdir("/"), lambda: os.getcwd(),
    lambda: sorted(map(str, pathlib.Path(path()).rglob("*.md"))), lambda: sorted(glob.glob("**/*.md", recursive=True)),
    lambda: pathlib.Path(path()).read_text()[:20], lambda: pathlib.Path(path()).write_text("text"),
    lambda: pathlib.Path(path()).touch(), lambda: pathlib.Path(path()).unlink(missing_ok=True),
    lambda: str(pathlib.Path(path()).resolve()), lambda: pathlib.Path(path()).rename(path()) and None,
    lambda: sorted(map(str, pathlib.Path(path()).iterdir())),
    lambda: shutil.copy(path(), path()), lambda: shutil.copytree(path(), path()), lambda: shutil.rmtree(path()),
    lambda: shutil.move(path(), path()), lambda: shutil.copyfile(path(), path()),
    lambda: [(top, sorted(folders), sorted(files)) for top, folders, files in sorted(os.walk(path()))],
    lambda: [(top, sorted(files)) for top, _, files, _ in sorted(os.fwalk(path()), key=lambda each: each[0])],
    lambda: io.FileIO(path(), "r").read()[:10], lambda: os.symlink("user.md", path()), lambda: os.link(path(), path()),
    reader_keeps_old, times,
]

def outcome(operation):
    try:
        return operation()
    except shutil.Error as error:
        return "shutil.Error", len(error.args[0])
    except OSError as error:
        names = () if error.errno == errno.ENOTEMPTY else (error.filename, error.filename2)
        return type(error).__name__, errno.errorcode.get(error.errno), *names
    except ValueError as error:
        return "ValueError", str(error)

for number in range(COUNT):
    which = rnd.randrange(len(OPERATIONS))
    log.append(f"{number}: {which}: {outcome(OPERATIONS[which])}")
for top, folders, files in sorted(os.walk("/")):
    log.append(f"{top}: {sorted(folders)} {sorted(files)}")
for number, line in enumerate(log):
    print(line[:300])
log = None
"""


def program(seed: int, count: int) -> str:
    """The code of one of them, with so many calls."""
    return PROGRAM.replace("SEED", str(seed)).replace("COUNT", str(count))


def make_memory(folder: Path, links: Mapping[str, str] = LINKS) -> Path:
    """A new memory with `NOTES` and *links*."""
    for name, text in NOTES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name, target in links.items():
        (folder / name).symlink_to(target)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """All of a memory, by path."""
    return {
        str(path.relative_to(folder)): f"-> {os.readlink(path)}"
        if path.is_symlink()
        else "folder"
        if path.is_dir()
        else path.read_text()
        for path in sorted(folder.rglob("*"))
    }


async def differences(seed: int, folder: Path, count: int = 40, *, readlink: bool = True) -> list[str]:
    """What the program of *seed* does in one of the kernel tiers and not in the other.

    Args:
        readlink: links are among the notes that can be read, and point to what need not be there.
    """
    links = LINKS if readlink else {name: target for name, target in LINKS.items() if name != "broken.md"}
    code = program(seed, count) if readlink else program(seed, count).replace("os.readlink(path())", "None")
    found = []
    for tier in ("kernel", "kernel-lite"):
        async with open_sandbox(tier, limits=SandboxLimits(printed_chars=200_000)) as sandbox:
            memory = make_memory(folder / f"{tier}-{seed}", links)
            result = await sandbox.run(code, memory_path=memory)
            found.append([*result.printed.splitlines(), result.error, str(sorted(contents(memory).items()))])
    return [f"{mine} / {theirs}" for mine, theirs in zip(*found, strict=False) if mine != theirs]


async def _main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({seed: await differences(int(seed), Path(folder), readlink=False) for seed in sys.argv[1:]}))


if __name__ == "__main__":
    trio.run(_main)
