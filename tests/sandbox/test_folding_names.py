"""Where a file system does not tell names by their case, none shows what is hidden, and no spelling loses a note."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from ..memory.support import run_python
from .folding_blocks import FILES

pytestmark = pytest.mark.real

Results = Callable[[str], Mapping[str, Any]]
TIERS = ("kernel", "kernel-lite", "monty")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What became of the blocks in a tier."""
    known: dict[str, Any] = {}

    def of(tier: str) -> Any:
        if tier not in known:
            script = "import runpy; runpy.run_module('tests.sandbox.folding_blocks', run_name='__main__')"
            # With one tier two files can change places, with the others a note is replaced by two renames.
            arguments = ["exchanges"] if tier == "kernel" else []
            known[tier] = json.loads(run_python(script, tier, tmp_path_factory.mktemp(tier), *arguments))
        if "unsupported" in known[tier]:
            pytest.skip(known[tier]["unsupported"])
        return known[tier]

    return of


@pytest.mark.parametrize("tier", TIERS)
def test_no_spelling_shows_or_changes_what_is_hidden(tier: str, results: Results) -> None:
    found = results(tier)
    for name in found:
        if name.startswith(("hidden", "not shown")):
            assert (found[name]["saved"], found[name]["files"]) == (False, FILES), name
    refused = ("read", "appended to", "written", "made", "the reserved name")
    for name in (*refused, "by a short name", "a note by a short name"):
        assert found[f"hidden, {name}"]["error"], name
    assert found["hidden, seen"]["locals"] == {"x": "[False, False, False, False]", "y": "['Ada.md']"}
    assert "not be read" in found["not shown, by a tool"]["locals"]["x"]
    assert found["not shown, by open"]["error"] and found["not shown, written"]["error"]
    assert found["not shown, searched"]["locals"] == {"x": "[]", "y": "['Entities/Ada.md', 'user.md']"}


@pytest.mark.parametrize("tier", TIERS)
def test_a_note_is_one_note_in_any_case(tier: str, results: Results) -> None:
    found = results(tier)
    written = found["read and written by a tool"]
    assert (written["saved"], written["files"]) == (True, {**FILES, "Entities/Ada.md": "# Ada L."})
    written = found["written by open in another case"]
    assert (written["saved"], written["files"]) == (True, {**FILES, "user.md": "hi"})
    unread = found["unread, written by open in another case"]
    assert "MemoryUnreadError: Entities/Ada.md" in unread["error"] and unread["files"] == FILES
    twice = found["two new notes of one name"]
    assert "has the same name as 'Entities/Bob.md' except for its case" in twice["error"] and twice["files"] == FILES
    deleted = found["deleted in another case"]["files"]
    assert deleted == {path: text for path, text in FILES.items() if path != "Entities/Ada.md"}


@pytest.mark.parametrize("tier", TIERS)
def test_another_case_for_a_name_loses_no_note(tier: str, results: Results) -> None:
    others = {path: text for path, text in FILES.items() if path != "Entities/Ada.md"}
    assert results(tier)["a note under a new case"]["files"] == {**others, "Entities/ADA.md": "# Ada\n"}
    # On Linux two spellings of one name are two names of one file, and renaming one to the other does nothing.
    renamed = results(tier)["a note renamed to another case"]["files"]
    assert renamed in (FILES, {**others, "Entities/ada.md": "# Ada\n"})
    assert results(tier)["a folder renamed to another case"]["files"] == FILES
