"""A program: change a memory of which some folders belong to a second group, and print what came of it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import trio

from trioagent.sandbox import open_sandbox

OTHER_GROUP = 54321
CODE = """
open("entities/theirs.md", "a").write(" and more")
open("entities/new.md", "w").write("new")
import os
os.remove("gone.md")
mode = os.stat("entities/theirs.md").st_uid == os.getuid()
"""


def make_notes(folder: Path) -> None:
    (folder / "entities").mkdir(parents=True)
    (folder / "entities" / "theirs.md").write_text("theirs")
    (folder / "gone.md").write_text("x")


async def change_notes(folder: Path) -> dict[str, object]:
    before = set(os.listdir(tempfile.gettempdir()))
    async with open_sandbox() as sandbox:
        result = await sandbox.run(CODE, memory_path=folder)
        left = sorted(name for name in set(os.listdir(tempfile.gettempdir())) - before if name.startswith("trioagent"))
    notes = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.md")}
    return {"error": result.error, "saved": result.saved, "notes": notes, "left": left}


def main() -> None:
    """As a plain user with OTHER_GROUP as a second group: change a memory whose folders belong to that group."""
    folder = Path(tempfile.mkdtemp()) / "memory"
    make_notes(folder)
    for path in (folder / "entities", folder / "entities" / "theirs.md"):
        os.chown(path, -1, OTHER_GROUP)
    json.dump(trio.run(change_notes, folder), sys.stdout)


if __name__ == "__main__":
    main()
