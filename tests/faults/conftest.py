"""The marker ``slow``: minutes of work, done only if asked for by name (``-m slow``)."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes; run only with -m slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.option.markexpr:
        skip = pytest.mark.skip(reason="slow: run it with -m slow")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(skip)
