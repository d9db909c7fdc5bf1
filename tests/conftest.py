"""Settings for every test."""

from __future__ import annotations

import compileall
import signal
from pathlib import Path

from hypothesis import settings

import trioagent

from .deep_trees import nest as nest
from .examples import examples

settings.register_profile("trioagent", deadline=None, database=None, max_examples=examples(40))
settings.load_profile("trioagent")

# A shell's background job ignores Ctrl-C, and so would every process that a test starts in one and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# As installing does: a sandbox's processes write no bytecode, and would compile their modules at each start.
compileall.compile_dir(Path(trioagent.__file__).parent, quiet=2)
