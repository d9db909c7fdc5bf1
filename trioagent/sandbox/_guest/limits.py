"""Limits and names that the host and sandbox processes share; each is defined here only."""

from __future__ import annotations

from ...tools import MAX_SEEN
from ...tools import RESERVED as RESERVED
from ...tools import is_reserved as is_reserved

MIB = 1024 * 1024

HEADER_BYTES = 4
"""The header of each frame: its length, big-endian."""
MAX_REQUEST_BYTES = 64 * MIB
"""Of a frame from the host, which is trusted; this only keeps a corrupt one from allocating gigabytes."""

MAX_READS = 2 * MAX_SEEN
"""Notes that a block may list as read and as changed."""
MAX_ARGUMENTS = 100_000
"""Values in the arguments of one call of a host tool, in total; shared items of lists count each time."""
TEMPORARY = ".trioagent-tmp"
"""A folder for the temporary files of a block; nothing in it is saved."""
MAX_DEPTH = 64
"""Levels of folders in a view."""
MAX_PATH_CHARS = MAX_DEPTH * 256
"""The longest path, and the longest name, of a note."""
ERROR_CHARS = 2000
"""The length of a block's error."""
NAME_CHARS = 200
"""The length of a variable's name."""

MAX_COPY_BYTES = 128 * MIB
"""The bytes of a memory that is copied for a block."""
MAX_COPY_ENTRIES = 100_000
"""Files and folders of such a memory."""

CHILD_FILES = 64
"""Descriptors of a block's process."""
TOOL_SERVER_FILES = 256
"""Descriptors of Monty's tool server."""
TOOL_SERVER_CPU_SECONDS = 2
"""CPU seconds that a tool server may have used, in total, when it begins another block."""
TOOL_SERVER_BYTES = 64 * MIB
"""Memory beyond a block's own: the stack of its thread, and the allocator's reserve."""
WORKER_FILES = 32
"""Descriptors of Monty's worker."""
MORE_THREADS = 256
"""Threads that Monty's tool server or worker may create, together with all that their user starts meanwhile. The kernel
does not count root's threads."""
MAX_CHANGES_BYTES = 16 * MIB
"""The bytes of a tool server's list of changes, without the notes' contents."""
