"""``import agent`` in a process that `multiprocessing` has started: `trioagent.compat`, as in its parent."""

import sys

import trioagent.compat

del sys.modules[__name__]  # which is this module, found on the path
trioagent.compat.install()
sys.modules[__name__] = trioagent.compat
