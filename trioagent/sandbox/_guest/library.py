"""The standard library for children that have no files but their notes.

The modules that blocks import most are imported before the fork. All other Python modules of the library, and the
packages that the host offers, are in one memory-mapped file (a memfd), from which a child imports them. Importing
everything up front would make each fork slower, since its cost grows with the memory that the parent has written, while
the pages of a mapped file cost a fork nothing.

A child may not map code, so C extensions must be imported before the fork, and each adds five mappings for it to copy.
A zygote therefore has either COMMON, which suffices for most blocks, or the FULL library with all extensions; the host
knows which a block needs (see ``needs_full_library``).
"""

from __future__ import annotations

import _imp
import errno
import fcntl
import importlib
import importlib.machinery
import importlib.util
import io
import marshal
import mmap
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, ModuleType
from typing import Any

from .limits import TEMPORARY

# Imported before the fork: what blocks need most, and what imports little else.
COMMON = """
abc bisect calendar collections collections.abc contextlib copy datetime difflib enum fnmatch functools glob heapq io
itertools json keyword linecache locale math operator os pathlib posixpath random re reprlib string struct textwrap time
traceback types typing unicodedata warnings weakref _strptime encodings.ascii encodings.cp1252 encodings.latin_1
encodings.utf_8 encodings.utf_8_sig encodings.utf_16
""".split()

# Also imported for the full library: common in blocks, or needed by modules that are.
FULL = """
ast base64 binascii codecs csv dataclasses decimal errno fractions hashlib numbers pickle pprint shutil socket
statistics tempfile urllib.parse uuid zoneinfo
""".split()

# All other C extensions are imported too, since a child may not map code. Except for these: encryption, terminals,
# system databases, tests, and those that import a large Python package (asyncio works without its accelerator).
NO_EXTENSIONS = ("_asyncio", "_ssl", "_hashlib", "_tkinter", "_curses", "_dbm", "_gdbm", "_test", "_ctypes_test",
                 "_xx", "xx", "nis", "ossaudiodev", "readline", "spwd", "_crypt")  # fmt: skip

# Not offered: tests, editors, windows, installers, and modules that open a browser.
LEFT_OUT = {
    "__pycache__", "antigravity", "config", "curses", "distutils", "ensurepip", "idlelib", "lib2to3", "lib-dynload",
    "msilib", "pydoc_data", "site-packages", "dist-packages", "test", "tests", "tkinter", "turtle.py", "turtledemo",
    "venv", "this.py",
}  # fmt: skip
ZONES = "/usr/share/zoneinfo"
_SEALED = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Archive:
    """Many small files in one mapping, which a child cannot change for the others."""

    def __init__(self) -> None:
        self._index: dict[str, tuple[int, int]] = {}
        self._size = 0
        self._descriptor = os.memfd_create("library", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._map: mmap.mmap | None = None

    def put(self, name: str, content: bytes) -> None:
        # Written to the file at once: collected here first, it would stay in the zygote's memory for each fork to copy.
        try:
            written = os.write(self._descriptor, content)
        except OSError as error:
            if error.errno == errno.EFBIG:
                error.strerror = "the standard library is larger than a file may be (ulimit -f)"
            raise
        self._index[name] = (self._size, written)
        self._size += len(content)

    def close(self) -> None:
        """Map the file; nothing can be added after this."""
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALED)
        # Private: a child that makes its pages writable (mprotect) or drops them (madvise) affects only itself.
        self._map = mmap.mmap(self._descriptor, self._size, mmap.MAP_PRIVATE, mmap.PROT_READ)
        os.close(self._descriptor)

    def __contains__(self, name: str) -> bool:
        return name in self._index

    def get(self, name: str) -> bytes:
        assert self._map is not None
        start, size = self._index[name]
        return self._map[start : start + size]


_fix_filename: Callable[[CodeType, str], None] = vars(_imp)["_fix_co_filename"]


class ArchiveImporter:
    """Imports modules from an archive, in which ``a/b.py`` is a.b's marshalled code object, or its source.

    A finder and a loader as described by ``importlib.abc``, which is not used, since it imports 20 modules.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        base = fullname.replace(".", "/")
        for name, is_package in ((f"{base}.py", False), (f"{base}/__init__.py", True)):
            if name in self._archive:
                loader: Any = self  # by its methods, not by its class
                spec = importlib.machinery.ModuleSpec(fullname, loader, origin=name, is_package=is_package)
                spec.has_location = False
                return spec
        return None

    def _name(self, fullname: str) -> str:
        spec = self.find_spec(fullname, None)
        if spec is None or spec.origin is None:
            raise ImportError(f"No module named {fullname!r}", name=fullname)
        return spec.origin

    def is_package(self, fullname: str) -> bool:
        return self._name(fullname).endswith("/__init__.py")

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None  # the default module creation

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)
        if module.__name__ == "tempfile":
            _prepare(module)

    def get_source(self, fullname: str) -> None:
        return None

    def get_code(self, fullname: str) -> CodeType:
        name = self._name(fullname)
        content = self._archive.get(name)
        if content[:4] == importlib.util.MAGIC_NUMBER:
            code = marshal.loads(content[16:])  # this interpreter's own compiled library
            assert isinstance(code, CodeType)
            _fix_filename(code, f"<library>/{name}")  # otherwise it names the folder it was compiled in
            return code
        return compile(content, f"<library>/{name}", "exec", dont_inherit=True)


def import_up_front(*, full: bool) -> None:
    """Import what blocks use most, or with *full* everything that cannot be imported later."""
    warnings.simplefilter("ignore")  # a DeprecationWarning is noise to a model
    _prefer_builtin_hashes()
    for name in [*COMMON, *FULL, *_extensions()] if full else COMMON:
        try:
            importlib.import_module(name)
        except ImportError:
            pass  # another version of Python, or one built without it


def _extensions() -> list[str]:
    folders = [path for path in sys.path if os.path.basename(path) == "lib-dynload" and os.path.isdir(path)]
    names = [name.partition(".")[0] for folder in folders for name in os.listdir(folder)]
    return sorted(name for name in names if not name.startswith(NO_EXTENSIONS))


def archive_library(archive: Archive) -> None:
    """Put the rest of the library into the archive and import it from there. No import reads from disk after this."""
    _archive_modules(archive)
    _archive_zones(archive)
    archive.close()
    sys.meta_path[:] = [
        importlib.machinery.BuiltinImporter,
        importlib.machinery.FrozenImporter,
        ArchiveImporter(archive),
    ]
    _offer_zones(archive)
    # The C library reads the time zone and the locale's names once: before the chroot.
    time.localtime()
    time.strftime("%c")
    sys.path[:] = []
    sys.path_importer_cache.clear()


def hide_places() -> None:
    """Remove the paths of Python and of our own files, which a block could read in modules and does not need."""
    for name, module in list(sys.modules.items()):
        origin = f"<library>/{name.replace('.', '/')}.py"
        spec: Any = getattr(module, "__spec__", None)
        for place, attribute in ((module, "__file__"), (spec, "origin"), (getattr(spec, "loader", None), "path")):
            if isinstance(getattr(place, attribute, None), str) and os.sep in getattr(place, attribute):
                setattr(place, attribute, origin)
        if spec is not None and getattr(spec, "cached", None):
            spec.cached = vars(module)["__cached__"] = None
        if spec is not None and getattr(module, "__path__", None):
            module.__path__ = spec.submodule_search_locations = ["<library>"]
    for name in ("executable", "_base_executable", "prefix", "base_prefix", "exec_prefix", "base_exec_prefix"):
        setattr(sys, name, "")
    sys.argv[:], sys.orig_argv[:] = [""], []


def _prefer_builtin_hashes() -> None:
    """Avoid OpenSSL (4 MB, and a large attack surface) if Python has its own hashes."""
    if all(importlib.util.find_spec(name) for name in ("_md5", "_blake2", "_sha3")):
        sys.modules["_hashlib"] = None  # type: ignore[assignment]  # "import fails": hashlib then takes its own


def _archive_modules(archive: Archive) -> None:
    root = os.path.dirname(os.__file__)
    cached = f".{sys.implementation.cache_tag}.pyc"
    stack = [""]
    while stack:
        folder = stack.pop()
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                name = os.path.join(folder, entry.name)
                if entry.name in LEFT_OUT or entry.name.startswith(("config-", "_sysconfigdata")):
                    continue
                if entry.is_dir():
                    stack.append(name)
                elif entry.name.endswith(".py"):
                    compiled = os.path.join(root, folder, "__pycache__", entry.name[:-3] + cached)
                    archive.put(name, _read(compiled, importlib.util.MAGIC_NUMBER) or _read(entry.path) or b"")


def archive_packages(archive: Archive, packages: Mapping[str, str]) -> None:
    """Put packages into the archive, given by import name and folder.

    This runs before anything else is imported: the imports then reuse the memory that compiling took.
    """
    for package, folder in packages.items():
        _archive_package(archive, package, folder)


def _archive_package(archive: Archive, package: str, folder: str) -> None:
    # Compiled from source: a cached file may be older, and a child could not write one.
    head = importlib.util.MAGIC_NUMBER.ljust(16, b"\0")
    for parent, _, files in os.walk(folder):
        for file in files:
            if file.endswith(".py"):
                path = os.path.join(parent, file)
                name = os.path.join(package, os.path.relpath(path, folder))
                source = _read(path)
                assert source is not None
                code = compile(source, f"<library>/{name}", "exec", dont_inherit=True)
                archive.put(name, head + marshal.dumps(code))
    if f"{package}/__init__.py" not in archive:
        raise FileNotFoundError(f"no package {package!r} in {folder}")


def _read(path: str, start: bytes = b"") -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:
            content = file.read()
    except OSError:
        return None
    return content if content.startswith(start) else None


def _archive_zones(archive: Archive) -> None:
    stack = [""]
    while stack:
        folder = stack.pop()
        try:
            entries = list(os.scandir(os.path.join(ZONES, folder)))
        except OSError:
            continue
        for entry in entries:
            name = os.path.join(folder, entry.name)
            if entry.is_dir(follow_symlinks=False) and name not in ("posix", "right"):
                stack.append(name)
            elif content := _read(entry.path, b"TZif"):
                archive.put(f"zone:{name}", content)


def _offer_zones(archive: Archive) -> None:
    """Let ``zoneinfo`` find time zones in the archive: it calls ``load_tzdata`` if no file is on its path."""
    if "zoneinfo" not in sys.modules:
        return
    import zoneinfo
    import zoneinfo._common as common

    def load_tzdata(key: str) -> io.BytesIO:
        if f"zone:{key}" not in archive:
            raise zoneinfo.ZoneInfoNotFoundError(f"No time zone found with key {key}")
        return io.BytesIO(archive.get(f"zone:{key}"))

    common.load_tzdata = load_tzdata  # type: ignore[assignment]
    zoneinfo.reset_tzpath(to=())  # the disk's own zones may be visible, but not readable


_rename, _replace = os.rename, os.replace


def replace_functions(*, overlay: bool, room: int) -> None:
    """Make functions of ``os`` that a view does not support as a plain disk would behave as code expects.

    This is for convenience, not security: a block can undo it, and then gets the bare system calls.
    """
    os.utime = utime
    _give_constants(room)
    if overlay:
        os.rename = rename
        os.replace = replace
    if "tempfile" in sys.modules:
        _prepare(sys.modules["tempfile"])


_IDS = {"getpid": 2, "getppid": 1, "getuid": 1000, "geteuid": 1000, "getgid": 1000, "getegid": 1000}


def _give_constants(room: int) -> None:
    """Constant answers that are the same for every block: its ids, and the free space.

    In a confined child the bare calls answer 0, by which these functions recognise one.
    """
    getpid = os.getpid

    def constant(real: Callable[[], int], value: int) -> Callable[[], int]:
        return lambda: real() if getpid() else value

    for name, value in _IDS.items():
        setattr(os, name, constant(getattr(os, name), value))
    getresuid, getresgid = os.getresuid, os.getresgid
    os.getresuid = lambda: getresuid() if getpid() else (1000, 1000, 1000)
    os.getresgid = lambda: getresgid() if getpid() else (1000, 1000, 1000)
    pieces = room // 4096
    answer = os.statvfs_result((4096, 4096, pieces, pieces, pieces, pieces, pieces, pieces, 0, 255))

    def statvfs(path: Any) -> os.statvfs_result:
        os.stat(path)
        return answer

    os.statvfs = statvfs
    os.fstatvfs = statvfs


def _prepare(module: Any) -> None:
    """Have the module ``tempfile`` create its files in a folder that is not saved; no other place exists for them."""
    module._get_default_tempdir = temporary_folder


def temporary_folder() -> str:
    """The folder for temporary files, created on first use."""
    folder = os.path.join(os.getcwd(), TEMPORARY)
    os.makedirs(folder, exist_ok=True)
    return folder


def utime(path: Any, *args: Any, dir_fd: int | None = None, follow_symlinks: bool = True, **kwargs: Any) -> None:
    """Does nothing, or raises FileNotFoundError: the filter reports success for any path, but ``Path.touch`` relies on
    the error."""
    if isinstance(path, int):
        os.fstat(path)
    else:
        os.stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)


def rename(src: Any, dst: Any, **kwargs: Any) -> None:
    try:
        _rename(src, dst, **kwargs)
    except OSError as error:
        _move_folder(error, src, dst, kwargs)


def replace(src: Any, dst: Any, **kwargs: Any) -> None:
    try:
        _replace(src, dst, **kwargs)
    except OSError as error:
        _move_folder(error, src, dst, kwargs)


def _move_folder(error: OSError, src: Any, dst: Any, kwargs: dict[str, Any]) -> None:
    """An overlay refuses to rename a folder of its lower layer (EXDEV): copy it and remove the old one."""
    if error.errno != errno.EXDEV or kwargs or not os.path.isdir(src):
        raise error
    import shutil  # which imports much that few blocks need

    if os.path.isdir(dst):
        os.rmdir(dst)  # like rename: the target may only be an empty folder
    shutil.copytree(src, dst)
    shutil.rmtree(src)
