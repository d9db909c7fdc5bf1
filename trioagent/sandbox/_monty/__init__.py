"""The ``monty`` tier: blocks in Pydantic Monty, an interpreter of its own for a part of Python.

Three processes stand between a block and the machine. The *worker* is Monty itself: it sees no file, only its pipes.
The *keeper* answers the worker's calls: it runs the tools over a private view of the memory, which it can read and not
write. The *warden* makes pairs of the two, and ends them; it holds nothing of any block. Each is confined as far as the
kernel can (:mod:`.inside.walls`).
"""

from __future__ import annotations

from ._executor import MontyTier as MontyTier
