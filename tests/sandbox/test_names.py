"""One name is one note in every tier: a block writes where it would read, whatever form a name has on the disk."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import pytest

from trioagent.sandbox import open_sandbox

from .tiers import TIERS

FOLDER, NOTE = normalize("NFD", "Café"), normalize("NFD", "Zoë élève")
BLOCK = f"""
asked = {normalize("NFC", f"{FOLDER}/{NOTE}")!r}
before = read_file(asked)
saved = [create_file(asked, "new"), create_file("Vue.js", "new"), update_file("john.doe", "old", "new")]
linked = go_to_link("[[" + asked + "]]")
refused = create_file("a: b", "x")
notes = list_files()
"""


@pytest.mark.parametrize("tier", [*TIERS, "monty"])
async def test_a_block_writes_where_it_reads(tier: str, tmp_path: Path) -> None:
    paths = [f"{FOLDER}/{NOTE}.md", "Vue.js.md", "john.doe.md"]
    (tmp_path / FOLDER).mkdir()
    for path in paths:
        (tmp_path / path).write_text("old")
    async with open_sandbox(tier=tier) as sandbox:
        result = await sandbox.run(BLOCK, memory_path=tmp_path)
    assert (result.error, result.saved) == ("", True)
    assert result.locals["before"] == "'old'" and result.locals["linked"] == "'new'"
    assert result.locals["saved"] == "[True, True, True]"
    assert "use 'a - b.md'" in result.locals["refused"]
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*.md")}
    assert found == dict.fromkeys(paths, "new")
