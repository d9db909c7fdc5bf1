"""Fixtures of the sandbox's tests."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from trioagent.sandbox import Sandbox, open_sandbox

from .plain_user import PlainUser, plain_user_python


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with open_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "user.md").write_text("# User\n- name: Ana\n")
    return folder


@pytest.fixture(scope="session")
def plain_user() -> Iterator[PlainUser]:
    """To run programs of this checkout as a plain user, when the tests run as root."""
    if os.getuid() != 0:
        pytest.skip("not root: these tests run as a plain user already")
    with plain_user_python() as user:
        yield user
