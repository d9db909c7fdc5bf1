"""Each module of these tests ends the Trio thread that it started."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trioagent.compat import shutdown

_MODEL_VARIABLES = (
    "TRIOAGENT_MODEL", "TRIOAGENT_BASE_URL", "TRIOAGENT_API_KEY", "OPENROUTER_API_KEY", "VLLM_HOST", "VLLM_PORT",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_model_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _MODEL_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module", autouse=True)
def bridge_ends() -> Iterator[None]:
    yield
    shutdown()
