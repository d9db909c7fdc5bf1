"""Settings for every test."""

from __future__ import annotations

import signal

from hypothesis import settings

from .deep_trees import nest as nest

settings.register_profile("trioagent", deadline=None, database=None)
settings.load_profile("trioagent")

# A shell's background job ignores Ctrl-C, and so would every process that a test starts in one and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
