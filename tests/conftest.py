"""Settings for every test."""

from __future__ import annotations

import signal

from hypothesis import settings

from .deep_trees import nest as nest
from .examples import examples

settings.register_profile("trioagent", deadline=None, database=None, max_examples=examples(40))
settings.load_profile("trioagent")

# A shell's background job ignores Ctrl-C, and so would every process that a test starts in one and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
