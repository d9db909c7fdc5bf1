"""Run blocks over a memory on a file system that does not tell names by their case, and print what became of them.

    python -m tests.sandbox.folding_blocks TIER FOLDER [exchanges]

Prints JSON: for each block its variables, its error, whether it saved, and the memory's files after it; or why there
can be no such file system here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import trio

from trioagent.memory import Knowledge, Memory, VaultPolicy
from trioagent.sandbox import open_sandbox

from ..folding_file_system import UnsupportedError, folding_file_system, isolated

FILES = {
    ".git/config": "[core]\n",
    ".obsidian/app.json": "{}",
    "Entities/.draft.md": "hidden",
    "Entities/Ada.md": "# Ada\n",
    "Private/Diary.md": "secret",
    "user.md": "hello\n",
}

BLOCKS = {
    "hidden, read": "x = open('.GIT/config').read()",
    "hidden, seen": """
import os
x = [os.path.exists(name) for name in ('.Git', '.GIT/config', 'ENTITIES/.DRAFT.md', 'entities/.Draft.md')]
y = os.listdir('entities')
""",
    "hidden, appended to": "open('.GIT/config', 'a').write('x')",
    "hidden, written": "open('.OBSIDIAN/app.md', 'w').write('x')",
    "hidden, made": "import os\nos.mkdir('.GIT/hooks')",
    "hidden, by a short name": "open('GIT~1/config', 'a').write('x')",
    "hidden, a note by a short name": """
import os
os.makedirs('GIT~1', exist_ok=True)
open('GIT~1/a.md', 'w').write('x')
""",
    "hidden, the reserved name": "open('.TRIOAGENT', 'w').write('x')",
    "not shown, by a tool": "x = read_file('private/diary.md')",
    "not shown, by open": "x = open('PRIVATE/DIARY.md').read()",
    "not shown, written": "open('PRIVATE/new.md', 'w').write('x')",
    "not shown, searched": "x = list(search('secret')); y = list_files()",
    "read and written by a tool": "x = read_file('entities/ada'); y = create_file('ENTITIES/ADA', '# Ada L.')",
    "written by open in another case": "x = read_file('USER'); open('USER.MD', 'w').write('hi')",
    "unread, written by open in another case": "open('ENTITIES/ADA.MD', 'w').write('x')",
    "two new notes of one name": "open('entities/Bob.md', 'w').write('1'); open('entities/bob.md', 'w').write('2')",
    "a note under a new case": """
text = read_file('Entities/Ada')
delete_file('Entities/Ada')
open('Entities/ADA.md', 'w').write(text)
""",
    "a note renamed to another case": "import os\nos.rename('Entities/Ada.md', 'Entities/ada.md')",
    "a folder renamed to another case": "import os\nos.rename('Entities', 'entities')",
    "deleted in another case": "x = delete_file('ENTITIES/ada')",
}


def lay_down(memory: Path) -> None:
    for path, text in FILES.items():
        (memory / path).parent.mkdir(exist_ok=True)
        (memory / path).write_text(text)


def files(memory: Path) -> dict[str, str]:
    return {str(path.relative_to(memory)): path.read_text() for path in sorted(memory.rglob("*")) if path.is_file()}


async def run_blocks(tier: str, mounted: Path, backing: Path) -> dict[str, Any]:
    results = {}
    policy = VaultPolicy(readable=("**", "!private/**"))
    async with open_sandbox(tier) as sandbox:
        for number, (name, code) in enumerate(BLOCKS.items()):
            memory = Memory(mounted / str(number), policy=policy)
            memory.path.mkdir()
            lay_down(memory.path)
            result = await sandbox.run(code, memory=memory, knowledge=Knowledge())
            left = files(backing / str(number))
            results[name] = {"locals": result.locals, "error": result.error, "saved": result.saved, "files": left}
    return results


def main(tier: str, folder: Path, *, exchanges: bool) -> dict[str, Any]:
    backing, mounted = folder / "backing", folder / "mounted"
    for path in (backing, mounted):
        path.mkdir()
    try:
        isolated()
        with folding_file_system(mounted, backing, exchanges=exchanges):
            return trio.run(run_blocks, tier, mounted, backing)
    except UnsupportedError as error:
        return {"unsupported": str(error)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), exchanges="exchanges" in sys.argv)))
