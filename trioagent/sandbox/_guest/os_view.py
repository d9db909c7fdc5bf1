"""`os`, `io` and `open` on a :class:`.layers.Layers` view: they replace the original functions before the fork.

Everything in Python's library that opens, lists or changes files by name calls these functions (``pathlib``,
``shutil``, ``glob``, ``tempfile``); operations on descriptors need no replacement. Code that opens files in C by itself
(``sqlite3``) sees the memory as committed, and cannot write. Without a view they call the original functions.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import stat as modes
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from ...tools import quiet
from .layers import READ, REAL, SEARCH, WRITE, Layers, failed
from .limits import CHILD_FILES

_open, _open_code = builtins.open, io.open_code


class Current:
    """The state of the functions.

    Attributes:
        view: None if they call the original functions.
    """

    view: Layers | None = None


current = Current()


def _text(path: Any) -> str:
    path = os.fspath(path)
    return path if type(path) is str else os.fsdecode(path)


def _start(view: Layers, dir_fd: int | None) -> str:
    return view.cwd if dir_fd is None else view.folder_of(dir_fd)


class _Errors:
    """Errors name the paths that the caller gave; opens inside do not count as reads of the block (`quiet`)."""

    __slots__ = ("_paths",)

    def __init__(self, *paths: Any) -> None:
        self._paths = [path if isinstance(path, int) else os.fspath(path) for path in paths]

    def __enter__(self) -> None:
        quiet.depth += 1

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        quiet.depth -= 1
        if isinstance(error, OSError) and error.errno is not None:
            first, *second = self._paths
            names = (first, None, second[0]) if second else (first,)
            raise OSError(error.errno, error.strerror, *names) from None


def _named(view: Layers, path: Any, dir_fd: int | None, *, follow: bool = True) -> str:
    return view.resolve(_text(path), _start(view, dir_fd), follow=follow)


def _entry(view: Layers, path: Any, dir_fd: int | None) -> tuple[str, str]:
    """The path of an entry to create or remove, and its name if that is ``.`` or ``..`` (these cannot be)."""
    text = _text(path).rstrip("/") or "/"
    named = view.resolve(text, _start(view, dir_fd), follow=False)
    name = text.rpartition("/")[2]
    return named, name if name in (".", "..") else ""


def _check_new(text: str, flags: int, named: str) -> None:
    """A path that ends with a slash can only be a folder, which ``open`` does not create."""
    if flags & os.O_CREAT and text.endswith("/"):
        if flags & os.O_EXCL and (not named or text.rstrip("/").endswith("..")):
            failed(errno.EEXIST)
        failed(errno.EISDIR)


def open_descriptor(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    view = current.view
    if view is None:
        return int(REAL.open(path, flags, mode, dir_fd=dir_fd))
    with _Errors(path):
        text = _text(path)
        follow = not flags & os.O_NOFOLLOW and not (flags & os.O_CREAT and flags & os.O_EXCL)
        bare = text.rstrip("/") if flags & os.O_CREAT else text
        named = view.resolve(bare or "/", _start(view, dir_fd), follow=follow)
        _check_new(text, flags, named)
    sys.audit("open", f"/{named}", None, flags)
    with _Errors(path):
        return view.open(named, flags, mode)


def _opener(path: Any, flags: int) -> int:
    view = current.view
    assert view is not None
    with _Errors(path):
        text = _text(path)
        # "x" requires that the file does not exist, but there is a link.
        bare = text.rstrip("/") if flags & os.O_CREAT else text
        named = view.resolve(bare or "/", view.cwd, follow=not flags & os.O_EXCL)
        _check_new(text, flags, named)
        return view.open(named, flags, 0o666)


def open_file(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[Any, int], int] | None = None,
) -> Any:
    if opener is None and current.view is not None and not isinstance(file, int):
        opener = _opener
    return _open(file, mode, buffering, encoding, errors, newline, closefd, opener)


def open_code(path: str) -> Any:
    return _open_code(path) if current.view is None else open_file(path, "rb")


_FileIO = io.FileIO


class _LikeFileIO(type(_FileIO)):  # type: ignore[misc]
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _FileIO)


class FileIO(_FileIO, metaclass=_LikeFileIO):
    def __init__(self, file: Any, mode: str = "r", closefd: bool = True, opener: Any = None) -> None:
        if opener is None and current.view is not None and not isinstance(file, int):
            opener = _opener
        super().__init__(file, mode, closefd, opener)


def stat(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
    view = current.view
    if view is None:
        real: os.stat_result = REAL.stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        return real
    if isinstance(path, int):
        return view.fstat(path)
    with _Errors(path):
        return view.lstat(_named(view, path, dir_fd, follow=follow_symlinks))


def lstat(path: Any, *, dir_fd: int | None = None) -> os.stat_result:
    if current.view is None:
        real: os.stat_result = REAL.lstat(path, dir_fd=dir_fd)
        return real
    return stat(path, dir_fd=dir_fd, follow_symlinks=False)


def access(
    path: Any, mode: int, *, dir_fd: int | None = None, effective_ids: bool = False, follow_symlinks: bool = True
) -> bool:
    if current.view is None:
        return bool(
            REAL.access(path, mode, dir_fd=dir_fd, effective_ids=effective_ids, follow_symlinks=follow_symlinks)
        )
    try:
        info = stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    except OSError:
        return False
    return current.view.may(info, mode & (READ | WRITE | SEARCH))


def readlink(path: Any, *, dir_fd: int | None = None) -> Any:
    view = current.view
    if view is None:
        return REAL.readlink(path, dir_fd=dir_fd)
    with _Errors(path):
        named = _named(view, path, dir_fd, follow=False)
        if not modes.S_ISLNK(view.lstat(named).st_mode):
            failed(errno.EINVAL)
        target = view.target(named)
    return os.fsencode(target) if isinstance(path, bytes) else target


def listdir(path: Any = None) -> list[Any]:
    view = current.view
    if view is None:
        real: list[Any] = REAL.listdir(path)
        return real
    path = "." if path is None else path
    with _Errors(path):
        named = view.folder_of(path) if isinstance(path, int) else _named(view, path, None)
        names = [entry[0] for entry in view.entries(named)]
    return [os.fsencode(name) for name in names] if isinstance(path, bytes) else names


class DirEntry:
    """As ``os.DirEntry``."""

    __slots__ = ("_inode", "_kind", "_stat", "_view", "_whole", "name", "path")

    def __init__(self, view: Layers, folder: str, path: Any, entry: tuple[str, int, int]) -> None:
        name, self._kind, self._inode = entry
        self._view = view
        self._whole = f"{folder}/{name}" if folder else name
        self._stat: os.stat_result | None = None
        self.name: Any = name
        self.path: Any = name
        if isinstance(path, bytes):
            self.name = os.fsencode(name)
            self.path = os.path.join(path, self.name)
        elif not isinstance(path, int):
            self.path = os.path.join(path, name)

    def __fspath__(self) -> Any:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"

    def inode(self) -> int:
        return self._inode

    def is_symlink(self) -> bool:
        return self._kind == modes.S_IFLNK

    def is_junction(self) -> bool:
        return False

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._is(modes.S_IFDIR, follow_symlinks)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return self._is(modes.S_IFREG, follow_symlinks)

    def _is(self, kind: int, follow: bool) -> bool:
        if self._kind == modes.S_IFLNK and follow:
            try:
                return modes.S_IFMT(self.stat().st_mode) == kind
            except FileNotFoundError:
                return False
        return self._kind == kind

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        if self._stat is None or self._kind == modes.S_IFLNK:
            with _Errors(self.path):
                self._stat = self._view.lstat(self._view.resolve(self._whole, follow=follow_symlinks))
        return self._stat


class _Entries:
    """The iterator returned by ``os.scandir``."""

    def __init__(self, entries: Iterator[DirEntry]) -> None:
        self._entries = entries

    def __iter__(self) -> _Entries:
        return self

    def __next__(self) -> DirEntry:
        return next(self._entries)

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._entries = iter(())


def scandir(path: Any = None) -> Any:
    view = current.view
    if view is None:
        return REAL.scandir(path)
    path = "." if path is None else path if isinstance(path, int) else os.fspath(path)
    with _Errors(path):
        named = view.folder_of(path) if isinstance(path, int) else _named(view, path, None)
        found = view.entries(named)
    return _Entries(DirEntry(view, named, path, entry) for entry in found)


def mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    view = current.view
    if view is None:
        REAL.mkdir(path, mode, dir_fd=dir_fd)
        return
    with _Errors(path):
        named, dots = _entry(view, path, dir_fd)
        if dots:
            failed(errno.EEXIST)
        view.mkdir(named, mode)


def rmdir(path: Any, *, dir_fd: int | None = None) -> None:
    view = current.view
    if view is None:
        REAL.rmdir(path, dir_fd=dir_fd)
        return
    with _Errors(path):
        named, dots = _entry(view, path, dir_fd)
        if dots:
            failed(errno.EINVAL if dots == "." else errno.ENOTEMPTY)
        view.rmdir(named)


def unlink(path: Any, *, dir_fd: int | None = None) -> None:
    view = current.view
    if view is None:
        REAL.unlink(path, dir_fd=dir_fd)
        return
    with _Errors(path):
        text = _text(path)
        if text.endswith("/") and modes.S_ISLNK(lstat(text.rstrip("/") or "/", dir_fd=dir_fd).st_mode):
            failed(errno.ENOTDIR)
        named = view.resolve(text, _start(view, dir_fd), follow=False)
    sys.audit("os.remove", f"/{named}", -1)
    with _Errors(path):
        view.unlink(named)


def rename(src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
    view = current.view
    if view is None:
        REAL.rename(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        return
    with _Errors(src, dst):
        source, source_dots = _entry(view, src, src_dir_fd)
        target, target_dots = _entry(view, dst, dst_dir_fd)
        if source_dots or target_dots:
            failed(errno.EBUSY)
        if (_text(src).endswith("/") or _text(dst).endswith("/")) and not modes.S_ISDIR(view.lstat(source).st_mode):
            failed(errno.ENOTDIR)
    sys.audit("os.rename", f"/{source}", f"/{target}", -1, -1)
    with _Errors(src, dst):
        view.rename(source, target)


def truncate(path: Any, length: int) -> None:
    view = current.view
    if view is None or isinstance(path, int):
        REAL.truncate(path, length)
        return
    with _Errors(path):
        named = _named(view, path, None)
    sys.audit("os.truncate", f"/{named}", length)
    with _Errors(path):
        descriptor = view.open(named, os.O_WRONLY, 0)
        try:
            REAL.ftruncate(descriptor, length)
        finally:
            REAL.close(descriptor)


def getcwd() -> str:
    return str(REAL.getcwd()) if current.view is None else f"/{current.view.cwd}"


def getcwdb() -> bytes:
    return os.fsencode(getcwd())


def chdir(path: Any) -> None:
    view = current.view
    if view is None:
        REAL.chdir(path)
        return
    with _Errors(path):
        named = view.folder_of(path) if isinstance(path, int) else _named(view, path, None)
        info = view.lstat(named)
        if not modes.S_ISDIR(info.st_mode):
            failed(errno.ENOTDIR)
        if not view.may(info, SEARCH):
            failed(errno.EACCES)
        view.cwd = named


def fchdir(fd: int) -> None:
    if current.view is None:
        REAL.fchdir(fd)
    else:
        chdir(fd)


def fstat(fd: int) -> os.stat_result:
    if current.view is None:
        real: os.stat_result = REAL.fstat(fd)
        return real
    return current.view.fstat(fd)


def close(fd: int) -> None:
    if current.view is not None and current.view.holds(fd):
        failed(errno.EBADF)
    REAL.close(fd)


def closerange(fd_low: int, fd_high: int) -> None:
    view = current.view
    if view is None:
        REAL.closerange(fd_low, fd_high)
        return
    for descriptor in range(max(fd_low, 0), min(fd_high, CHILD_FILES)):
        if not view.holds(descriptor):
            REAL.closerange(descriptor, descriptor + 1)


def dup(fd: int, /) -> int:
    if current.view is not None and current.view.holds(fd):
        failed(errno.EBADF)
    return int(REAL.dup(fd))


def dup2(fd: int, fd2: int, inheritable: bool = True) -> int:
    if current.view is not None and (current.view.holds(fd) or current.view.holds(fd2)):
        failed(errno.EBADF)
    return int(REAL.dup2(fd, fd2, inheritable))


_PATCHES: dict[str, Callable[..., Any]] = {
    "access": access,
    "chdir": chdir,
    "close": close,
    "closerange": closerange,
    "dup": dup,
    "dup2": dup2,
    "fchdir": fchdir,
    "fstat": fstat,
    "getcwd": getcwd,
    "getcwdb": getcwdb,
    "listdir": listdir,
    "lstat": lstat,
    "mkdir": mkdir,
    "open": open_descriptor,
    "readlink": readlink,
    "remove": unlink,
    "rename": rename,
    "replace": rename,
    "rmdir": rmdir,
    "scandir": scandir,
    "stat": stat,
    "truncate": truncate,
    "unlink": unlink,
}


def install() -> None:
    """Replace the functions in ``os``, ``io`` and ``builtins``, and in every module that has a reference to one.

    Except for this package's own modules that need the originals, which are in `layers.REAL`.
    """
    replaced: dict[int, Any] = {id(getattr(os, name)): function for name, function in _PATCHES.items()}
    for name in ("supports_dir_fd", "supports_fd", "supports_follow_symlinks", "supports_effective_ids"):
        supported = getattr(os, name)
        supported |= {replaced[id(function)] for function in supported if id(function) in replaced}
    replaced |= {id(_open): open_file, id(_open_code): open_code, id(_FileIO): FileIO}
    modules: list[Any] = list(sys.modules.values())
    for module in modules:
        if isinstance(module, ModuleType) and module.__name__ != __name__:
            _replace(module, replaced)


def _replace(place: Any, replaced: dict[int, Any]) -> None:
    for name, value in list(vars(place).items()):
        if isinstance(value, FunctionType) and value.__module__ != __name__:
            _replace_defaults(value, replaced)
        plain = value.__func__ if isinstance(value, staticmethod) else value
        if id(plain) in replaced:
            new = replaced[id(plain)]
            # A function written in C does not become a method of a class that contains it.
            setattr(place, name, staticmethod(new) if isinstance(place, type) and not isinstance(new, type) else new)
        elif isinstance(place, ModuleType) and isinstance(value, type) and value.__module__ == place.__name__:
            _replace_in_class(value, replaced)


def _replace_defaults(function: FunctionType, replaced: dict[int, Any]) -> None:
    if function.__defaults__ is not None and not replaced.keys().isdisjoint(map(id, function.__defaults__)):
        function.__defaults__ = tuple(replaced.get(id(value), value) for value in function.__defaults__)


def _replace_in_class(kind: type, replaced: dict[int, Any]) -> None:
    try:
        _replace(kind, replaced)
    except (AttributeError, TypeError):
        pass  # a class that cannot be changed
