"""A home of its own for every test, and a model server that tests can script."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
import trio

from trioagent.cli import main
from trioagent.testing import ModelServer, Say, Wire, serve_model

from .support import Ended, environment

Run = Callable[..., Ended]
Serve = Callable[..., Awaitable[ModelServer]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process, which is quicker; for what does not depend on being a process."""
    monkeypatch.chdir(home)

    def start(*arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Ended:
        with monkeypatch.context() as patch:
            for name in os.environ:
                patch.delenv(name)
            for name, value in environment(home, **(env or {})).items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
            code = main(arguments)
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return start


@pytest.fixture
def serve(nursery: trio.Nursery) -> Serve:
    """Start a model server with these answers."""

    async def start(*answers: str | Say | Wire) -> ModelServer:
        server: ModelServer = await nursery.start(serve_model, answers)
        return server

    return start
