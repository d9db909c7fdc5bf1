"""What a commit does to the notes, and what it refuses."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent._config import MIB, MemoryLimits
from trioagent._errors import MemoryConflictError, MemoryLimitError, MemoryPathError
from trioagent.memory import ChangeSet, Memory, Receipt
from trioagent.memory._sizes import SizesCache

from .support import PRIVATE, Tree, before, commit_now, read_tree, recover_now, run_python, run_with_tmpfs

NAMES = st.sampled_from(["a", "b", "c.md"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), PATHS, st.binary(max_size=3)),
        st.tuples(st.just("make"), PATHS, st.just(b"")),
        st.tuples(st.just("delete"), PATHS, st.just(b"")),
    ),
    max_size=6,
)


@given(blocks=st.lists(STEPS, min_size=1, max_size=5))
def test_any_changes_against_a_model(blocks: list[list[tuple[str, str, bytes]]]) -> None:
    """Whatever blocks do, the memory becomes what they saw; sizes are right all the way."""
    with tempfile.TemporaryDirectory() as folder:
        root, state = Path(folder), Tree()
        for steps in blocks:
            view = state.copy()
            for kind, path, data in steps:
                view.write(path, data) if kind == "write" else getattr(view, kind)(path)
            total = sum(map(len, view.notes.values()))
            changes = state.changes_to(view)
            grows = total > sum(map(len, state.notes.values()))
            if grows and total > 1:  # one byte less is refused, and refused means untouched
                with pytest.raises(MemoryLimitError):
                    commit_now(root, changes, limits=MemoryLimits(total_bytes=total - 1))
                assert read_tree(root) == state
            assert commit_now(root, changes, limits=MemoryLimits(total_bytes=max(total, 1))) == (view != state)
            assert read_tree(root) == view
            assert not (root / PRIVATE).exists()
            state = view


def test_same_content_is_no_change(tmp_path: Path) -> None:
    before().lay_down(tmp_path)
    stamp = (tmp_path / "user.md").stat().st_mtime_ns
    assert commit_now(tmp_path, ChangeSet(writes={"user.md": b"# Ada\n"})) is False
    assert commit_now(tmp_path, ChangeSet(deletes=frozenset({"none.md"}), removed_dirs=frozenset({"none"}))) is False
    assert commit_now(tmp_path, ChangeSet(made_dirs=frozenset({"entities"}))) is False
    assert commit_now(tmp_path, ChangeSet()) is False
    assert (tmp_path / "user.md").stat().st_mtime_ns == stamp
    assert read_tree(tmp_path) == before()


def test_modes_are_kept(tmp_path: Path) -> None:
    before().lay_down(tmp_path)
    (tmp_path / "user.md").chmod(0o640)
    commit_now(tmp_path, ChangeSet(writes={"user.md": b"new", "other/new.md": b"new"}))
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "user.md").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "other/new.md").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o777 & ~umask


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_leaves_the_owner_his_notes(tmp_path: Path) -> None:
    before().lay_down(tmp_path)
    os.chown(tmp_path, 1234, 1235)
    os.chown(tmp_path / "user.md", 77, 78)
    changes = ChangeSet(writes={"user.md": b"new", "other/new.md": b"new"}, made_dirs=frozenset({"empty"}))
    commit_now(tmp_path, changes, receipt=Receipt("k"))
    owners = {
        path: (os.stat(tmp_path / path).st_uid, os.stat(tmp_path / path).st_gid)
        for path in ("user.md", "other", "other/new.md", "empty", PRIVATE)
    }
    assert owners.pop("user.md") == (77, 78)
    assert set(owners.values()) == {(1234, 1235)}


def test_strange_notes_already_there_do_no_harm(tmp_path: Path) -> None:
    """Names and contents that are not text, a note over the limit, links, pipes: other notes are saved all the same."""
    root = os.fsencode(tmp_path)
    os.mkdir(root + b"/caf\xe9")
    for name in (b"caf\xe9/\xff.md", b"entities.md", b"tab\there.md"):
        with open(root + b"/" + name, "wb") as file:
            file.write(b"\xff\xfe\r\n" * 3)
    (tmp_path / "huge.md").write_bytes(b"x" * 2 * MIB)
    (tmp_path / "link.md").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "pipe")
    hostname = Path("/etc/hostname").read_bytes() if os.path.exists("/etc/hostname") else None
    commit_now(tmp_path, ChangeSet(writes={"user.md": b"a\r\nb\r\n", "x/y.md": b"\x00\xff"}))
    assert (tmp_path / "user.md").read_bytes() == b"a\r\nb\r\n"
    strange = os.fsdecode(b"caf\xe9")
    commit_now(
        tmp_path,
        ChangeSet(
            writes={"link.md": b"a note now", "pipe": b"too", f"{strange}/\udcff.md": b"rewritten"},
            deletes=frozenset({"tab\there.md"}),
        ),
    )
    assert not (tmp_path / "link.md").is_symlink()
    assert (tmp_path / "pipe").read_bytes() == b"too"
    assert Path(os.fsdecode(root + b"/caf\xe9/\xff.md")).read_bytes() == b"rewritten"
    if hostname is not None:
        assert Path("/etc/hostname").read_bytes() == hostname
    everything = read_tree(tmp_path)
    commit_now(tmp_path, ChangeSet(deletes=frozenset(everything.notes), removed_dirs=frozenset(everything.folders)))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../out.md",
        "a/../../out.md",
        "a//b",
        "./a",
        "a/",
        f"{PRIVATE}/redo.json",
        PRIVATE,
        "a\0",
        "\ud800.md",
    ],
)
@pytest.mark.parametrize("kind", ["writes", "deletes", "made_dirs", "removed_dirs"])
def test_places_that_are_none(tmp_path: Path, path: str, kind: str) -> None:
    what = {path: b""} if kind == "writes" else frozenset({path})
    with pytest.raises(MemoryLimitError) as caught:
        commit_now(tmp_path, ChangeSet(**{kind: what}))  # type: ignore[arg-type]
    assert caught.value.path == path
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("caf\udce9.md", "not UTF-8"),
        ("new\nline.md", "control character"),
        ("\x9b.md", "control character"),
        ("n" * 256, "256 bytes"),
        ("é" * 128, "256 bytes"),
        ("/".join("d" * 34), "33 folders deep"),
        ("/".join(["n" * 250] * 17), "too long a path"),
    ],
)
def test_names(tmp_path: Path, path: str, problem: str) -> None:
    with pytest.raises(MemoryLimitError, match=problem):
        commit_now(tmp_path, ChangeSet(writes={path: b""}))
    with pytest.raises(MemoryLimitError, match=problem):
        commit_now(tmp_path, ChangeSet(made_dirs=frozenset({path})))
    assert os.listdir(tmp_path) == []


def test_longest_names_and_deepest_folders_work(tmp_path: Path) -> None:
    paths = ["é" * 127 + "x", "/".join("d" * 33), "\u202e日本 note?*.md"]
    commit_now(tmp_path, ChangeSet(writes=dict.fromkeys(paths, b"x")))
    assert read_tree(tmp_path).notes == dict.fromkeys(paths, b"x")


LIMITS = MemoryLimits(file_bytes=100, dir_bytes=250, total_bytes=400)


def test_limits(tmp_path: Path) -> None:
    def save(writes: dict[str, int], deletes: tuple[str, ...] = ()) -> None:
        changes = ChangeSet(writes={p: b"x" * n for p, n in writes.items()}, deletes=frozenset(deletes))
        commit_now(tmp_path, changes, limits=LIMITS)

    with pytest.raises(MemoryLimitError, match=r"big.md: would have 101 bytes, a note may have 100; split"):
        save({"big.md": 101})
    save({"d/a.md": 100, "d/e/b.md": 100})
    with pytest.raises(MemoryLimitError, match="d: would hold 251 bytes, a folder may hold 250"):
        save({"d/e/c.md": 51})
    save({"d/e/c.md": 50, "f.md": 100})
    with pytest.raises(MemoryLimitError, match=r"the whole memory may hold 400"):
        save({"g.md": 51})
    state = read_tree(tmp_path)
    with pytest.raises(MemoryLimitError):  # refused as a whole
        save({"ok.md": 1, "g.md": 51})
    assert read_tree(tmp_path) == state
    save({"g.md": 51}, deletes=("d/a.md",))
    save({"d/e/d.md": 99})
    assert sum(map(len, read_tree(tmp_path).notes.values())) == 400


def test_what_is_too_large_may_shrink(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("d/a.md", "d/b.md", "c.md"):
        (tmp_path / name).write_bytes(b"x" * 300)
    commit_now(tmp_path, ChangeSet(writes={"d/a.md": b"y" * 300}), limits=LIMITS)  # no growth
    commit_now(tmp_path, ChangeSet(writes={"d/a.md": b"x" * 299}), limits=LIMITS)
    commit_now(tmp_path, ChangeSet(writes={"c.md": b"", "d/new.md": b"x"}), limits=MemoryLimits(total_bytes=10))
    with pytest.raises(MemoryLimitError):
        commit_now(tmp_path, ChangeSet(writes={"d/a.md": b"x" * 301}), limits=LIMITS)


def test_two_notes_of_one_name_are_refused(tmp_path: Path) -> None:
    """By whatever call a block makes them: names equal under NFC are one name, for files and folders."""
    composed, decomposed = (normalize(form, "Zoë") for form in ("NFC", "NFD"))
    commit_now(tmp_path, ChangeSet(writes={f"{decomposed}/a.md": b"x", f"{decomposed}.md": b"x"}))
    state = read_tree(tmp_path)
    twice = {f"{form}2.md": b"y" for form in (composed, decomposed)}
    for writes in ({f"{composed}.md": b"y"}, {f"{composed}/b.md": b"y"}, twice):
        with pytest.raises(MemoryLimitError, match="has the same name as"):
            commit_now(tmp_path, ChangeSet(writes=writes))
    assert read_tree(tmp_path) == state
    renamed = ChangeSet(writes={f"{composed}.md": b"x"}, deletes=frozenset({f"{decomposed}.md"}))
    assert commit_now(tmp_path, renamed)
    assert commit_now(tmp_path, ChangeSet(writes={f"{decomposed}/a.md": b"z", f"{composed}.md": b"z"}))


def test_hidden_files_count_towards_no_limit(tmp_path: Path) -> None:
    (tmp_path / ".git/objects").mkdir(parents=True)
    (tmp_path / ".git/objects/pack").write_bytes(bytes(10_000))
    (tmp_path / "d/.cache").mkdir(parents=True)
    (tmp_path / "d/.cache/x").write_bytes(bytes(10_000))
    (tmp_path / "d/.DS_Store").write_bytes(bytes(10_000))
    cache = SizesCache()
    commit_now(tmp_path, ChangeSet(writes={"a.md": b"x" * 100, "d/b.md": b"x" * 100}), limits=LIMITS, cache=cache)
    shutil.rmtree(tmp_path / ".git")
    (tmp_path / "d/.DS_Store").unlink()
    commit_now(tmp_path, ChangeSet(writes={"d/c.md": b"x" * 100, "e.md": b"x" * 100}), limits=LIMITS, cache=cache)
    with pytest.raises(MemoryLimitError):
        commit_now(tmp_path, ChangeSet(writes={"f.md": b"x"}), limits=LIMITS, cache=cache)


def test_a_limit_names_its_setting_and_what_is_large(tmp_path: Path) -> None:
    writes = {"d/a.md": b"x" * 90, "d/e/b.md": b"x" * 80, "d/c.md": b"x" * 5, "f.md": b""}
    commit_now(tmp_path, ChangeSet(writes=writes), limits=LIMITS)
    with pytest.raises(MemoryLimitError) as caught:
        commit_now(tmp_path, ChangeSet(writes={"d/e/g.md": b"x" * 76}), limits=LIMITS)
    assert str(caught.value) == (
        "d: would hold 251 bytes, a folder may hold 250 (MemoryLimits.dir_bytes); most is taken by "
        "d/e/ (156), d/a.md (90), d/c.md (5); delete or shorten notes there first"
    )
    with pytest.raises(
        MemoryLimitError, match=r"MemoryLimits.total_bytes\); most is taken by d/ \(175\), h.md \(100\)"
    ):
        commit_now(
            tmp_path, ChangeSet(writes={"h.md": b"x" * 100}), limits=MemoryLimits(total_bytes=200, dir_bytes=190)
        )


def test_sizes_follow_other_programs(tmp_path: Path) -> None:
    """Notes that a person adds to a folder, or folders that appear, count when something is saved there."""
    commit_now(tmp_path, ChangeSet(writes={"d/a.md": b"x"}), limits=LIMITS)
    (tmp_path / "d/by-hand.md").write_bytes(b"x" * 249)
    with pytest.raises(MemoryLimitError, match="d: would hold 251"):
        commit_now(tmp_path, ChangeSet(writes={"d/b.md": b"x"}), limits=LIMITS)
    (tmp_path / "d/by-hand.md").unlink()
    (tmp_path / "new").mkdir()
    (tmp_path / "new/by-hand.md").write_bytes(b"x" * 399)
    with pytest.raises(MemoryLimitError, match="whole memory"):
        commit_now(tmp_path, ChangeSet(writes={"b.md": b"x"}), limits=LIMITS)
    (tmp_path / "new/by-hand.md").unlink()
    (tmp_path / "new").rmdir()
    commit_now(tmp_path, ChangeSet(writes={"b.md": b"x"}), limits=LIMITS)


@pytest.mark.parametrize("path", ["entities", "user.md/inside.md", "link/inside.md"])
def test_something_else_lies_there(tmp_path: Path, path: str) -> None:
    before().lay_down(tmp_path)
    (tmp_path / "link").symlink_to("entities")
    with pytest.raises(MemoryConflictError) as caught:
        commit_now(tmp_path, ChangeSet(writes={path: b"x", "fine.md": b"y"}))
    assert path.startswith(caught.value.paths[0])
    with pytest.raises(MemoryConflictError):
        commit_now(tmp_path, ChangeSet(deletes=frozenset({"entities"})))
    (tmp_path / "link").unlink()
    assert read_tree(tmp_path) == before()


def test_folder_that_is_not_empty_any_more_stays(tmp_path: Path) -> None:
    before().lay_down(tmp_path)
    (tmp_path / "folder/by-hand.md").write_bytes(b"new")
    gone = ChangeSet(deletes=frozenset({"folder/inner.md"}), removed_dirs=frozenset({"folder"}))
    assert commit_now(tmp_path, gone)
    assert os.listdir(tmp_path / "folder") == ["by-hand.md"]
    with pytest.raises(MemoryConflictError):  # nor can a note take its place
        commit_now(tmp_path, ChangeSet(writes={"folder": b"x"}, removed_dirs=frozenset({"folder"})))


def test_foreign_things_in_our_folder_stay(tmp_path: Path) -> None:
    (tmp_path / PRIVATE).mkdir()
    (tmp_path / PRIVATE / "mine").write_text("not ours")
    assert recover_now(tmp_path)
    commit_now(tmp_path, ChangeSet(writes={"a.md": b"a"}))
    assert os.listdir(tmp_path / PRIVATE) == ["mine"]


async def test_our_name_taken_by_a_file(tmp_path: Path) -> None:
    (tmp_path / PRIVATE).write_text("")
    with pytest.raises(MemoryPathError, match="move it away"):
        async with Memory(tmp_path).lease():
            pass


_READ_ONLY_FOLDER = """
import os, sys, trio
from trioagent._errors import MemoryProtectedError
from trioagent.memory import ChangeSet, Memory
if os.geteuid() == 0:
    os.setgid(12345), os.setuid(12345)
async def main():
    async with Memory(sys.argv[1]).lease() as lease:
        for writes in ({"locked/a.md": b"x", "b.md": b"x"}, {"locked/a.md": b"x"}):
            try:
                await lease.commit(ChangeSet(writes=writes))
            except MemoryProtectedError as error:
                assert error.path == "locked" and "not writable" in error.problem, error
            else:
                raise AssertionError("saved")
trio.run(main)
"""


@pytest.mark.real
def test_folder_that_may_not_be_written() -> None:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is closed to other users
        root = Path(folder) / "memory"
        root.mkdir()
        (root / "locked").mkdir()
        if os.geteuid() == 0:
            for path in (folder, root, root / "locked"):
                os.chown(path, 12345, 12345)
        (root / "locked").chmod(0o555)
        run_python(_READ_ONLY_FOLDER, root)
        assert os.listdir(root) == ["locked"]
        assert os.listdir(root / "locked") == []


_MOUNTED = """
root = os.path.dirname(folder)
try:
    trio.run(save, root, {"mounted/a.md": b"x", "b.md": b"x"})
except MemoryProtectedError as error:
    assert error.path == "mounted" and "mounted from elsewhere" in error.problem, error
else:
    raise AssertionError("saved")
assert os.listdir(root) == ["mounted"] and not os.listdir(folder)
"""


@pytest.mark.real
def test_folder_of_another_file_system_is_refused(tmp_path: Path) -> None:
    """A file system mounted inside a memory cannot take part in its renames."""
    (tmp_path / "mounted").mkdir()
    run_with_tmpfs(_MOUNTED, tmp_path / "mounted")
