"""A real file system that keeps the case of names and does not tell them apart by it, as macOS, Windows and FAT do.

As on FAT, a name has a short one besides: ``.git`` is found as ``GIT~1``.

It is a FUSE server in a process of its own, over a folder of the usual kind::

    with folding_file_system(mounted_at, backed_by):
        ...

It needs ``/dev/fuse`` and the right to mount; `isolated` gives a process that right in a user namespace of its own.
Two files can change places on it only with *exchanges*.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unicodedata import normalize

_HEADER = struct.Struct("=IIQQIIII")
_ATTRIBUTES = struct.Struct("=6Q10I")
_ROOT, _MAX_WRITE = 1, 128 * 1024
_NEWUSER, _NEWNS = 0x10000000, 0x20000
_NOSUID_NODEV, _LAZY = 6, 2
_LIBC = ctypes.CDLL(None, use_errno=True)


class UnsupportedError(Exception):
    """There can be no such file system here, and why."""


def isolated() -> None:
    """Move this process, which has a single thread, into namespaces in which it may mount.

    Raises:
        UnsupportedError: that is refused here.
    """
    uid, gid = os.getuid(), os.getgid()
    if _LIBC.unshare(_NEWUSER | _NEWNS):
        raise UnsupportedError(f"user namespaces are refused here: {os.strerror(ctypes.get_errno())}")
    for file, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path("/proc/self", file).write_text(text)


@contextmanager
def folding_file_system(mounted_at: Path, backed_by: Path, *, exchanges: bool = False) -> Iterator[None]:
    """Mount it; at the end it is unmounted and its process ended.

    Raises:
        UnsupportedError: it cannot be mounted here.
    """
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise UnsupportedError(f"/dev/fuse: {error.strerror}") from error
    try:
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other"
        where = os.fsencode(mounted_at)
        if _LIBC.mount(b"folding", where, b"fuse", _NOSUID_NODEV, options.encode()):
            raise UnsupportedError(f"mounting is refused here: {os.strerror(ctypes.get_errno())}")
        pid = os.fork()
        if pid == 0:
            try:
                _Server(device, backed_by, exchanges).serve()
            except BaseException:  # noqa: BLE001 - the test fails for want of answers, and this says why
                traceback.print_exc()
            finally:
                os._exit(0)
    finally:
        os.close(device)
    try:
        yield
    finally:
        _LIBC.umount2(where, _LAZY)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class _Server:
    """Answers the kernel's requests, one after the other; the numbers are those of ``linux/fuse.h``."""

    def __init__(self, device: int, backing: Path, exchanges: bool) -> None:
        self._device, self._exchanges = device, exchanges
        self._paths = {_ROOT: str(backing)}
        self._nodes: dict[int, int] = {os.lstat(backing).st_ino: _ROOT}  # by inode
        self._handlers: dict[int, Callable[[int, bytes], bytes | None]] = {
            1: lambda node, data: self._entry(self._existing(node, _name(data))),
            2: lambda node, data: None,  # FORGET
            3: lambda node, data: self._status(self._paths[node]),
            4: self._set_attributes,
            5: lambda node, data: os.fsencode(os.readlink(self._paths[node])),
            6: self._symlink,
            9: self._mkdir,
            10: lambda node, data: self._done(os.unlink, self._existing(node, _name(data))),
            11: lambda node, data: self._done(os.rmdir, self._existing(node, _name(data))),
            12: lambda node, data: self._rename(node, data, 8, 0),
            13: self._link,
            14: self._open,
            15: self._read,
            16: self._write,
            17: lambda node, data: struct.pack("=5Q4I24x", 10**6, 10**6, 10**6, 10**6, 10**6, 4096, 255, 4096, 0),
            18: lambda node, data: self._done(os.close, struct.unpack_from("=Q", data)[0]),
            20: lambda node, data: b"",  # FSYNC
            25: lambda node, data: b"",  # FLUSH
            26: lambda node, data: struct.pack("=4I2H2I2H8I", 7, 31, 0, 0, 16, 12, _MAX_WRITE, 1, 0, 0, *[0] * 8),
            27: lambda node, data: bytes(16),  # OPENDIR
            28: self._list,
            29: lambda node, data: b"",  # RELEASEDIR
            30: lambda node, data: b"",  # FSYNCDIR
            35: self._create,
            36: lambda node, data: None,  # INTERRUPT
            42: lambda node, data: None,  # BATCH_FORGET
            45: self._rename_with_flags,
        }

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, _MAX_WRITE + 4096)
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.EBADF):
                    return  # unmounted
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                raise
            _, operation, unique, node, *_ = _HEADER.unpack_from(request)
            number, answer = 0, None
            try:
                handler = self._handlers.get(operation)
                if handler is None:
                    raise OSError(errno.ENOSYS, "no such operation")
                answer = handler(node, request[_HEADER.size :])
                if answer is None:
                    continue
            except OSError as error:
                number = error.errno or errno.EIO
            body = answer or b""
            os.write(self._device, struct.pack("=IiQ", 16 + len(body), -number, unique) + body)

    def _place(self, node: int, name: str) -> tuple[str, bool]:
        """The path of *name* in a folder, in the case in which it is stored; and whether it exists."""
        folder = self._paths[node]
        names = os.listdir(folder)
        if name not in names:
            key = _folded(name)
            kept = next((each for each in names if key in (_folded(each), _short(each))), None)
            return f"{folder}/{name if kept is None else kept}", kept is not None
        return f"{folder}/{name}", True

    def _existing(self, node: int, name: str) -> str:
        path, is_there = self._place(node, name)
        if not is_there:
            raise OSError(errno.ENOENT, name)
        return path

    def _new(self, node: int, name: str) -> str:
        path, is_there = self._place(node, name)
        if is_there:
            raise OSError(errno.EEXIST, name)
        return path

    def _entry(self, path: str) -> bytes:
        inode = os.lstat(path).st_ino
        node = self._nodes.setdefault(inode, len(self._nodes) + 1)
        self._paths[node] = path
        return struct.pack("=4Q2I", node, 0, 0, 0, 0, 0) + self._attributes(path)

    def _attributes(self, path: str) -> bytes:
        found = os.lstat(path)
        times = (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
        seconds, rest = [each // 10**9 for each in times], [each % 10**9 for each in times]
        owner = (found.st_uid, found.st_gid, 0, 4096, 0)
        return _ATTRIBUTES.pack(
            found.st_ino, found.st_size, found.st_blocks, *seconds, *rest, found.st_mode, found.st_nlink, *owner
        )

    def _status(self, path: str) -> bytes:
        return struct.pack("=QII", 0, 0, 0) + self._attributes(path)

    def _done(self, operation: Callable[..., object], *args: object) -> bytes:
        operation(*args)
        return b""

    def _set_attributes(self, node: int, data: bytes) -> bytes:
        valid, _, _, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _ = struct.unpack_from(
            "=2I6Q8I", data
        )
        path = self._paths[node]
        if valid & 1:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & 6:
            os.chown(path, uid if valid & 2 else -1, gid if valid & 4 else -1)
        if valid & 8:
            os.truncate(path, size)
        if valid & 0x180:
            os.utime(path)
        elif valid & 0x30:
            found = os.lstat(path)
            accessed = atime * 10**9 + atime_ns if valid & 0x10 else found.st_atime_ns
            changed = mtime * 10**9 + mtime_ns if valid & 0x20 else found.st_mtime_ns
            os.utime(path, ns=(accessed, changed))
        return self._status(path)

    def _symlink(self, node: int, data: bytes) -> bytes:
        name, target, _ = data.split(b"\0", 2)
        path = self._new(node, os.fsdecode(name))
        os.symlink(os.fsdecode(target), path)
        return self._entry(path)

    def _mkdir(self, node: int, data: bytes) -> bytes:
        path = self._new(node, _name(data[8:]))
        os.mkdir(path)
        os.chmod(path, stat.S_IMODE(struct.unpack_from("=I", data)[0]))
        return self._entry(path)

    def _link(self, node: int, data: bytes) -> bytes:
        path = self._new(node, _name(data[8:]))
        os.link(self._paths[struct.unpack_from("=Q", data)[0]], path)
        return self._entry(path)

    def _open(self, node: int, data: bytes) -> bytes:
        flags = struct.unpack_from("=I", data)[0] & ~(os.O_APPEND | os.O_NOFOLLOW | os.O_EXCL | os.O_CREAT)
        return struct.pack("=QII", os.open(self._paths[node], flags | os.O_CLOEXEC), 0, 0)

    def _create(self, node: int, data: bytes) -> bytes:
        flags, mode = struct.unpack_from("=II", data)
        path, is_there = self._place(node, _name(data[16:]))
        if is_there and flags & os.O_EXCL:
            raise OSError(errno.EEXIST, path)
        fd = os.open(path, (flags & ~os.O_APPEND) | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not is_there:
            os.fchmod(fd, stat.S_IMODE(mode))
        return self._entry(path) + struct.pack("=QII", fd, 0, 0)

    def _read(self, node: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("=QQI", data)
        return os.pread(handle, size, offset)

    def _write(self, node: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("=QQI", data)
        return struct.pack("=II", os.pwrite(handle, data[40 : 40 + size], offset), 0)

    def _list(self, node: int, data: bytes) -> bytes:
        _, offset, size = struct.unpack_from("=QQI", data)
        found = b""
        with os.scandir(self._paths[node]) as entries:
            inside = sorted((entry.name, entry.inode(), entry.stat(follow_symlinks=False).st_mode) for entry in entries)
        for number, (name, inode, mode) in enumerate(inside[offset:], offset + 1):
            encoded = os.fsencode(name)
            entry = struct.pack("=QQII", inode, number, len(encoded), mode >> 12) + encoded
            entry += bytes(-len(entry) % 8)
            if len(found) + len(entry) > size:
                break
            found += entry
        return found

    def _rename_with_flags(self, node: int, data: bytes) -> bytes:
        flags = struct.unpack_from("=QI", data)[1]
        if flags and not self._exchanges:
            raise OSError(errno.EINVAL, "no flags")
        return self._rename(node, data, 16, flags)

    def _rename(self, node: int, data: bytes, begin: int, flags: int) -> bytes:
        old, new, _ = data[begin:].split(b"\0", 2)
        source = self._existing(node, os.fsdecode(old))
        folder = struct.unpack_from("=Q", data)[0]
        target, is_there = self._place(folder, os.fsdecode(new))
        if flags == 1 and is_there:
            raise OSError(errno.EEXIST, target)
        if not flags & 2 and is_there and os.path.samefile(source, target):  # another case of the same name
            target = f"{self._paths[folder]}/{os.fsdecode(new)}"
        if _LIBC.renameat2(-100, os.fsencode(source), -100, os.fsencode(target), flags & 2):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        for path in (source, target):
            if os.path.lexists(path):
                self._moved(path)
        return b""

    def _moved(self, path: str) -> None:
        """Find again what lies at *path*, and below it, under its present name."""
        node = self._nodes.get(os.lstat(path).st_ino)
        if node is not None and self._paths[node] != path:
            before, self._paths[node] = self._paths[node], path
            for other, known in self._paths.items():
                if known.startswith(before + "/"):
                    self._paths[other] = path + known[len(before) :]


def _name(data: bytes) -> str:
    return os.fsdecode(data.split(b"\0", 1)[0])


def _folded(name: str) -> str:
    return normalize("NFC", normalize("NFC", name).casefold())


def _short(name: str) -> str:
    """The other name that FAT gives to a file whose own is not of the old form."""
    plain = "".join(char for char in _folded(name) if char.isalnum())
    return f"{plain[:6]}~1"


if __name__ == "__main__":
    with folding_file_system(Path(sys.argv[1]), Path(sys.argv[2])):
        signal.pause()
