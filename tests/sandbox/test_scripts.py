"""System calls prepared in a row, and what they take."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from trioagent.sandbox._guest.syscalls import Script
from trioagent.sandbox._guest.wire import Message


def test_calls_are_made_in_order_with_what_they_point_to(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    script = Script()
    for number in range(3):
        script.add("mkdirat", folder, b"/".join([b"inner"] * (number + 1)), 0o700)
    more = Script()
    more.add("close", folder)
    script.extend(more)
    script.run()
    assert (tmp_path / "inner" / "inner" / "inner").is_dir()
    with pytest.raises(OSError):
        os.fstat(folder)


def test_a_call_that_fails_is_named_and_the_last(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    script = Script()
    for name in (b"a", b"missing/b", b"c"):
        script.add("mkdirat", folder, name, 0o700)
    with pytest.raises(FileNotFoundError, match="mkdirat: No such file"):
        script.run()
    os.close(folder)
    assert os.listdir(tmp_path) == ["a"]


def test_another_answer_than_expected_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        script = Script()
        script.add("write", ours.fileno(), b"abc", 3, result=2)
        with pytest.raises(OSError, match="write answered 3 and not 2") as caught:
            script.run()
        assert caught.value.errno == errno.EBADF


def test_a_rehearsal_leaves_out_what_is_final(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    script, more = Script(), Script()
    script.add("mkdirat", folder, b"a", 0o700)
    more.add("mkdirat", folder, b"b", 0o700, final=True)
    more.add("mkdirat", folder, b"c", 0o700)
    script.extend(more)
    with script.rehearsed():
        script.run()
    assert sorted(os.listdir(tmp_path)) == ["a", "c"]
    for name in ("a", "c"):
        os.rmdir(tmp_path / name)
    script.run()
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]
    os.close(folder)


def test_a_message_carries_its_descriptors(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    first, second = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    os.set_inheritable(second, True)
    with ours, theirs:
        script = Script()
        script.add("sendmsg", ours.fileno(), Message(b"hello", first, second), 0, result=5)
        script.run()
        script.run()
        for _ in range(2):
            text, descriptors, _, _ = socket.recv_fds(theirs, 5, 2)
            assert text == b"hello"
            assert [os.fstat(descriptor).st_ino for descriptor in descriptors] == [tmp_path.stat().st_ino] * 2
            for descriptor in descriptors:
                os.close(descriptor)
    os.close(first)
    os.close(second)
