"""The history commands of ``trioagent memory``, on what ``trioagent run`` has changed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .conftest import Run

pytestmark = pytest.mark.real


def ids(text: str) -> list[str]:
    return re.findall(r"^([0-9a-f]{10}) ", text, re.MULTILINE)


def test_history_of_what_an_agent_wrote(home: Path, run: Run) -> None:
    notes = home / "notes"
    notes.mkdir()
    (notes / "plan.md").write_text("by hand\n")
    for said in ("My sister Ada lives in Paris.", "My sister Ada lives in Rome."):
        assert run("run", said, "--memory", "notes", "--model", "offline-rules", "--agent-folder", "").code == 0
    log = run("memory", "log", "notes").out
    assert "My sister Ada lives in Rome.\n" in log and "+ entities/ada.md\n" in log and "1 notes as they were" in log
    second, first, _ = ids(log)
    found = [json.loads(line) for line in run("memory", "log", "notes", "ada", "--json").out.splitlines()]
    assert [each["said"] for each in found] == ["My sister Ada lives in Rome.", "My sister Ada lives in Paris."]
    assert "+- **Lives In**: Rome" in run("memory", "diff", "notes", "ada").out
    assert "Paris" in run("memory", "show", "notes", "ada", "--at", first).out
    assert "Rome" in run("memory", "show", "notes", "ada").out
    blamed = run("memory", "blame", "notes", "ada").out.splitlines()
    assert {line[:10] for line in blamed if "Lives In" in line} == {second}
    assert run("memory", "restore", "notes", "ada", "--at", first).out == "restored entities/ada.md\n"
    assert "Paris" in (notes / "entities" / "ada.md").read_text()
    (notes / "entities" / "ada.md").write_text("by hand\n")
    refused = run("memory", "undo", "notes", "--chat", found[0]["chat"])
    assert refused.code == 1 and "entities/ada.md" in refused.err
    assert run("memory", "restore", "notes", "ada", "--at", second).code == 0
    assert run("memory", "undo", "notes", "--chat", found[0]["chat"]).out.startswith("took back 1 commit: entities/ada")
    assert "Paris" in (notes / "entities" / "ada.md").read_text()
    assert run("memory", "forget", "notes", "entities").out.startswith("forgot entities/ada.md")
    gone = run("memory", "show", "notes", "ada", "--at", first)
    assert gone.code == 1 and "has no revision" in gone.err
    assert (notes / "plan.md").read_text() == "by hand\n"


def test_no_history(home: Path, run: Run) -> None:
    assert run("run", "My sister Ada lives in Paris.", "--memory", "notes", "--no-history").code == 0
    assert not (home / "notes" / ".trioagent").exists()
    assert run("memory", "log", "notes").err == "no history is kept of these notes\n"
    told = run("run", "My sister Ada lives in Rome.", "--memory", "notes", "--history", "kept")
    assert told.code == 0 and not (home / "notes" / ".trioagent").exists()
    assert len(ids(run("memory", "log", "notes", "--history", "kept").out)) == 2
    both = run("run", "x", "--memory", "notes", "--history", "kept", "--no-history")
    assert both.code == 2 and "--no-history" in both.err
    assert run("memory", "log", "nowhere").code == 1
