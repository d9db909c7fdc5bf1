"""A zygote's note of how a child died: the last thing on the child's socket, after all that it wrote itself."""

from __future__ import annotations

import struct

DEATH = struct.Struct("=4sI")  # the mark and the wait status
DEATH_MARK = b"\xffDIE"  # no UTF-8 and no plausible frame length, so it cannot be part of an honest reply
OVERFULL = 1 << 16  # added to the status of a child that was stopped for filling its view
