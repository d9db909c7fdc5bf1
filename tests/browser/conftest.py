"""One browser for all tests; without one they are skipped, or fail where TRIOAGENT_REQUIRE_BROWSER is set."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .chromium import Browser, missing, open_browser

REQUIRED = "TRIOAGENT_REQUIRE_BROWSER"


@pytest.fixture(scope="session")
def driven() -> Iterator[Browser]:
    """The browser; see `browser`."""
    if problem := missing():
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set, and {problem}", pytrace=False)
        pytest.skip(problem)
    with open_browser() as browser:
        yield browser


@pytest.fixture
def browser(driven: Browser) -> Iterator[Browser]:
    """The browser, for a test in which the console complains of nothing."""
    driven.complaints()
    driven.requests()
    yield driven
    complaints = driven.complaints()
    driven.leave()
    assert not complaints
