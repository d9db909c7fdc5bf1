"""Run a block a few times in the zygote itself, before it forks anything.

A child pays for every page of memory that it is the first to write to after the fork, some 3 us each. Much of that is
Python getting used to its work: caches of method look-ups fill, functions count their calls and specialise themselves
(PEP 659). Done here once, little of it happens in the children.

What runs is our own constant text, over an empty view like any child's. The zygote can come back from that root, since
it keeps a descriptor of its own; a child has none, and no right to ask.
"""

from __future__ import annotations

import _socket
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .channel import Channel
from .descriptors import release, set_aside
from .isolation import Ground
from .run_block import Reads, Stage, run

ROUNDS = 16  # a function specialises itself after 8 calls, and what it finds then settles within a few more
BLOCK = """
import json, re
made = create_file("a/b.md", "# A\\n- x: 1\\n")
text = read_file("a/b.md")
create_file("a/b.md", text + "more")
update_file("a/b.md", "x: 1", "x: 2")
with open("user.md", "w") as file:
    file.write("- key: value [[a/b]]\\n")
linked = go_to_link("[[a/b]]")
found = search("more"), list_files(), check_if_file_exists("c.md")
facts = {"k": [1, 2], "s": f"{len(text)}", "none": None}
def helper(count):
    return [number for number in range(count)]
numbers = helper(3)
missing = read_file("nothing.md")
print("done", len(numbers))
"""


def warm_up(ground: Ground, new_stage: Callable[[str], Stage], reads: Reads, settings: dict[str, Any]) -> None:
    """Run the block `ROUNDS` times; leaves nothing behind but what Python has learned."""
    request = json.dumps({"code": BLOCK, "tools": []}).encode()
    order = json.dumps({"memory": None, "hide": False, "owner": None}).encode()
    for number in range(ROUNDS):
        # The ends' numbers must be none of a child's own.
        ours, theirs = (_socket.socket(fileno=set_aside(end.detach())) for end in _socket.socketpair())
        with _state_kept(ground):
            for body in (order, request):
                ours.sendall(len(body).to_bytes(4, "big") + body)
            channel = Channel(theirs.fileno())
            path = ground.prepare(f"warm-up-{number}")
            ground.view(channel.read())
            os.fchdir(ground.root)
            if ground.changes_root:
                os.chroot(".")
                os.chdir("/")
            release()
            reads.root = path
            run(channel, new_stage(path), reads, settings)
            reply = json.loads(ours.recv(1 << 20)[4:])
            if reply["error"]:
                raise RuntimeError(reply["error"])
        ours.close()
        theirs.close()
        reads.paths.clear()
        reads.root = ""
        ground.drop(f"warm-up-{number}")


@contextmanager
def _state_kept(ground: Ground) -> Iterator[None]:
    """Come back to our own root afterwards, and to what `run` replaces."""
    outside = set_aside(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    streams = sys.stdin, sys.stdout, sys.stderr
    main = sys.modules["__main__"]
    try:
        yield
    finally:
        os.fchdir(outside)
        if ground.changes_root:
            os.chroot(".")
        os.chdir("/")
        os.close(outside)
        sys.stdin, sys.stdout, sys.stderr = streams
        sys.modules["__main__"] = main
