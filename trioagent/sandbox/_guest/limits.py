"""Limits and names that the host and sandbox processes share: each stands here, and nowhere else."""

from __future__ import annotations

from ...tools import MAX_SEEN
from ...tools import RESERVED as RESERVED
from ...tools import is_reserved as is_reserved

MIB = 1024 * 1024

HEADER_BYTES = 4
"""Before each frame: its length, big-endian."""
MAX_REQUEST_BYTES = 64 * MIB
"""Of a frame from the host, which is trusted; this only keeps a broken one from asking for gigabytes."""

MAX_READS = 2 * MAX_SEEN
"""Notes that a block may list, as read and as changed."""
MAX_ARGUMENTS = 100_000
"""Values, in all, in the arguments of one call of a host tool: lists that share their items count them each time."""
TEMPORARY = ".trioagent-tmp"
"""A folder for the temporary files of a block; nothing in it is saved."""
MAX_DEPTH = 64
"""Levels of folders in a view."""
MAX_PATH_CHARS = MAX_DEPTH * 256
"""Of a note's path: none lies deeper, or has a longer name."""
ERROR_CHARS = 2000
"""Of a block's error."""
NAME_CHARS = 200
"""Of a variable's name."""

MAX_COPY_BYTES = 128 * MIB
"""Of a memory that is copied for a block."""
MAX_COPY_ENTRIES = 100_000
"""Files and folders of such a memory."""

CHILD_FILES = 64
"""Descriptors of a block's process."""
TOOL_SERVER_FILES = 256
"""Descriptors of Monty's tool server."""
TOOL_SERVER_CPU_SECONDS = 2
"""Of processor time that a tool server may have used, in all, when it begins another block."""
TOOL_SERVER_BYTES = 64 * MIB
"""Of memory beyond a block's own: the stack of its thread, and the allocator's reserve."""
WORKER_FILES = 32
"""Descriptors of Monty's worker."""
MORE_THREADS = 256
"""Threads that Monty's tool server or worker may make, together with all that their user starts meanwhile. The kernel
counts no threads of root's."""
MAX_CHANGES_BYTES = 16 * MIB
"""Of a tool server's list of changes, the notes' contents apart."""
