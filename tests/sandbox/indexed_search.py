"""Search a memory with an index, and compare with what a look at every note finds.

Also a program, ``python -m tests.sandbox.indexed_search``: the way to do it as another user. Prints what came of it, as
JSON.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import trio

from trioagent.sandbox import Sandbox, open_sandbox
from trioagent.sandbox._indexes import WORTH, Indexes

SEARCH = """
scan = type(search.__self__)()  # the tools without an index
used = search.__self__._index.usable
def same():
    asked = [(query,) for query in ("needle", "plain", "haystack", "note 7", "w3")]
    calls = [("search", each) for each in asked]
    calls += [("go_to_link", (link,)) for link in ("[[note_7]]", "[[fresh]]", "[[nte]]")]
    calls += [("backlinks", (path,)) for path in ("note_7.md", "folder/fresh.md")]
    for name, arguments in calls:
        indexed, plain = getattr(search.__self__, name)(*arguments), getattr(scan, name)(*arguments)
        assert repr(indexed) == repr(plain), (name, arguments, indexed, plain)
same()
"""


def filled(memory: Path, notes: int = WORTH + 20) -> Path:
    (memory / "folder").mkdir(parents=True)
    for number in range(notes):
        folder = memory if number % 2 else memory / "folder"
        (folder / f"note_{number}.md").write_text(f"# Plain {number}\n- see [[note_{number + 1}]]\n")
    return memory


def indexes(sandbox: Sandbox) -> Indexes:
    found = getattr(sandbox._executor, "indexes", None)
    assert isinstance(found, Indexes)
    return found


async def uses_index(sandbox: Sandbox, memory: Path) -> bool:
    result = await sandbox.run(SEARCH, memory_path=memory)
    assert result.error == ""
    return result.locals["used"] == "True"


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        memory = filled(Path(folder) / "memory")
        async with open_sandbox("kernel") as sandbox:
            await uses_index(sandbox, memory)
            await indexes(sandbox).idle()
            code = f"{SEARCH}\ncreate_file('fresh', 'needle')\nsame()\nfound = search('needle')"
            result = await sandbox.run(code, memory_path=memory)
    print(json.dumps([result.error, result.locals["used"], result.locals["found"]]))


if __name__ == "__main__":
    trio.run(main)
