"""How many examples hypothesis tries: some in the suite, ten times as many in ``make test-slow``."""

from __future__ import annotations

import os

_FACTOR = int(os.environ.get("TRIOAGENT_EXAMPLES", "1"))


def examples(number: int) -> int:
    """*number* in the suite; times ``TRIOAGENT_EXAMPLES`` if that is set."""
    return number * _FACTOR
