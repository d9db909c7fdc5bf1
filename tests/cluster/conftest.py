"""One cluster of Ray for all tests that can share it: its nodes take twelve seconds to start, and 1.2 GB."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trioagent.testing import ModelRequest, ModelServer, Say, model_server

from .faults import answer
from .nodes import Nodes, ray_nodes


def slowly(request: ModelRequest) -> Say:
    """So that a run takes ten seconds on the fastest machine, and can be disturbed: its status is a second old."""
    return Say(answer(request), delay=0.8)


@pytest.fixture(scope="session")
def server() -> Iterator[ModelServer]:
    with model_server(slowly) as running:
        yield running


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """Three, each of which a test may kill that adds another one."""
    with ray_nodes(3) as running:
        yield running
