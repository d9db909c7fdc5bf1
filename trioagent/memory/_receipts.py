"""Receipts: left in the memory by a commit, so that its caller finds out after a crash that it happened."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator

from ..tools import RESERVED
from . import _fsops
from ._commit import LeasedMemory, storage_error
from ._private import private_folder, remove_private
from ._record import CommitRecord, receipt_name


def read_receipt(leased: LeasedMemory, key: str) -> bytes | None:
    """The payload of the receipt of this key; None if there is none, or it is torn."""
    with _existing(leased) as fd:
        text = None if fd is None else _fsops.read(receipt_name(key), fd)
    return None if text is None else receipt_payload(text)


def receipt_payload(text: bytes) -> bytes | None:
    """The payload of a receipt's file; None if it is torn, by a power cut without sync, or was never ours."""
    try:
        return base64.b64decode(CommitRecord.decode(text).payload, validate=True)
    except ValueError:
        return None


def drop_receipt(leased: LeasedMemory, key: str) -> None:
    """Remove the receipt of this key, and ``.trioagent`` if it was the last one."""
    with _existing(leased) as fd:
        if fd is None:
            return
        with contextlib.suppress(FileNotFoundError):
            _fsops.unlink(receipt_name(key), fd)
    try:
        with leased.cache.kept(leased.path, leased.root_fd), private_folder(leased.root_fd) as fd:
            remove_private(leased.root_fd, fd)
    except OSError as error:
        raise storage_error(leased, error) from error


@contextlib.contextmanager
def _existing(leased: LeasedMemory) -> Iterator[int | None]:
    """``.trioagent``, where receipts are kept, or None if it does not exist."""
    try:
        fd = _fsops.open_dir(RESERVED, leased.root_fd)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise storage_error(leased, error) from error
    try:
        yield fd
    except OSError as error:
        raise storage_error(leased, error) from error
    finally:
        _fsops.close(fd)
