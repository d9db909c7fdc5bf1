"""A resumed job knows of its notes what the undisturbed one knew: it conflicts exactly where that one would."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.journal_writes import watched_connect
from trioagent._messages import ChatMessage
from trioagent.batch import CONVERSATIONS, Job, read_rows, run_batch
from trioagent.runtime import open_runtime
from trioagent.testing import ScriptedModel

pytestmark = pytest.mark.real

REPLY = "<think>t</think><python></python><reply>ok</reply>"
# name: blocks; before which event somebody edits which note; at which event, before or after it, the process is killed
SCENARIOS: dict[str, tuple[list[str], int, str, str, int]] = {
    # What the block wrote is edited: its next version would overwrite that.
    "written": (
        ["open('list.md', 'w').write('first version')", "open('list.md', 'w').write('second version')"],
        2,
        "list.md",
        "before",
        1,
    ),
    # What it read was there before the block: it may be overwritten by the one who read it.
    "read": (
        [
            "create_file('z.md', 'z')",
            "t = read_file('x.md')\ncreate_file('log.md', 'seen')",
            "create_file('x.md', 'mine')",
        ],
        2,
        "x.md",
        "before",
        3,
    ),
    # What it read is edited after the kill.
    "read and edited": (
        ["t = read_file('x.md')\ncreate_file('log.md', 'seen')", "create_file('x.md', 'mine')"],
        2,
        "x.md",
        "before",
        1,
    ),
    # A note that it deleted is made again.
    "deleted": (
        ["create_file('a.md', 'a')\ncreate_file('b.md', 'b')", "delete_file('a.md')", "create_file('a.md', 'mine')"],
        4,
        "a.md",
        "before",
        3,
    ),
    # A block that changes nothing teaches as well.
    "only read": (["t = check_if_file_exists('x.md')", "create_file('x.md', 'mine')"], 2, "x.md", "after", 1),
    # Killed before its first block, which would write over a note that nobody in this conversation has read.
    "new": (["create_file('shared.md', 'mine')"], 1, "shared.md", "after", 0),
}
OVERWRITTEN = ("read",)  # by an agent that had read it


async def main(name: str, where: Path, kill: bool) -> None:
    blocks, edited_before, note, when, killed_at = SCENARIOS[name]
    edited = (where / "edited").exists()

    def edit() -> None:
        nonlocal edited
        if not edited:
            edited = True
            (where / "edited").touch()
            (where / "memory").mkdir(exist_ok=True)
            (where / "memory" / note).write_text("somebody else's")

    last = -1  # event that was written, or is about to be

    def before(sql: str, values: Sequence[Any]) -> None:
        nonlocal last
        if sql.startswith("INSERT INTO events"):
            last = values[2]
            if kill and (when, killed_at) == ("before", last):
                os.kill(os.getpid(), signal.SIGKILL)

    def after(sql: str, values: Sequence[Any]) -> None:
        if sql == "COMMIT":
            if kill and (when, killed_at) == ("after", last):
                os.kill(os.getpid(), signal.SIGKILL)
            if last + 1 == edited_before:
                edit()

    if (journal := where / "run" / "journal.db").exists():
        with closing(sqlite3.connect(journal)) as connection:
            (events,) = connection.execute("SELECT count(*) FROM events").fetchone()
        if events and events + 1 >= edited_before:
            edit()

    def answer(messages: Sequence[ChatMessage]) -> str:
        number = sum(message.role == "assistant" for message in messages)
        return f"<think>t</think><python>\n{blocks[number]}\n</python>" if number < len(blocks) else REPLY

    sqlite3.connect = watched_connect(before, after)  # type: ignore[assignment]
    async with open_runtime(ScriptedModel(answer)) as runtime:
        job = Job(id="a", memory=str(where / "memory"), messages=("go",))
        await run_batch([job], runtime=runtime, run_dir=where / "run")


def start(name: str, where: Path, *, kill: bool) -> int:
    command = [sys.executable, "-m", "tests.batch.test_resumed_knowledge", name, str(where), "kill" if kill else ""]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def outcome(where: Path) -> tuple[list[str], dict[str, str]]:
    (row,) = read_rows(where / "run" / CONVERSATIONS)
    results = [message["content"] for message in row["messages"] if message["role"] == "tool"]
    return results, {path.name: path.read_text() for path in (where / "memory").glob("*.md")}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_as_undisturbed(name: str, tmp_path: Path) -> None:
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    for where in (killed, undisturbed):
        where.mkdir()
    assert start(name, undisturbed, kill=False) == 0
    assert start(name, killed, kill=True) == -signal.SIGKILL
    assert start(name, killed, kill=False) == 0
    results, notes = outcome(undisturbed)
    assert outcome(killed) == (results, notes)
    assert (notes[SCENARIOS[name][2]] == "somebody else's") == (name not in OVERWRITTEN)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]), bool(sys.argv[3]))
