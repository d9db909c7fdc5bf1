"""Run the blocks that must work and compare what they leave.

Also a program, ``python -m tests.sandbox.run_blocks TIER``: the way to run them as another user.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from .background import Background
from .family_blocks import FAMILY
from .library_blocks import LIBRARY
from .simple_blocks import SIMPLE, USER, Block

BLOCKS = (*SIMPLE, *LIBRARY, *FAMILY)


def run_block(background: Background, folder: Path, block: Block) -> list[str]:
    """Run *block* over its notes in the empty *folder*; says what is not as it should be."""
    (folder / "user.md").write_text(USER)
    for name, text in block.before.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    result = background.run(block.code, folder)
    values = {name: result.locals.get(name) for name in block.values}
    notes = {name: (folder / name).read_text() if (folder / name).exists() else None for name in block.notes}
    found = [result.error] if result.error else []
    found += [f"{name} is {values[name]}" for name in values if values[name] != block.values[name]]
    return found + [f"{name} holds {notes[name]!r}" for name in notes if notes[name] != block.notes[name]]


def main() -> None:
    """Run all blocks in the tier that the first argument names, and print what went wrong, by name, as JSON."""
    wrong = {}
    with Background(tier=sys.argv[1]) as background:
        for block in BLOCKS:
            with tempfile.TemporaryDirectory() as folder:
                found = run_block(background, Path(folder), block)
            if found:
                wrong[block.name] = found
    print(json.dumps(wrong))


if __name__ == "__main__":
    main()
