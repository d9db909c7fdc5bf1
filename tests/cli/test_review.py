"""``trioagent chat --review`` on a terminal: nothing is saved that the user has not agreed to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Serve
from .support import notes_in, terminal, trioagent
from .test_chat import CTRL_C, CTRL_D, PROMPT, STYLE, leave
from .test_options import write_config
from .test_run import REPLY, at

pytestmark = pytest.mark.real

WRITE = (
    "<think>t</think><python>\ntext = read_file('user.md')\nupdate_file('user.md', 'London', 'Berlin')\n"
    "create_file('entities/berlin.md', '# Berlin\\n')\n</python>"
)
QUESTION = "save this?"


@pytest.fixture
def notes(home: Path) -> Path:
    folder = home / "notes"
    folder.mkdir()
    (folder / "user.md").write_text("# Ada\n- city: London\n")
    return folder


async def test_yes(home: Path, notes: Path, serve: Serve) -> None:
    server = await serve(WRITE, REPLY)
    async with terminal("chat", "--review", "--memory", "notes", *at(server), home=home) as screen:
        await screen.expect(PROMPT)
        await screen.type("I moved.\r")
        diff = STYLE.sub("", await screen.expect(QUESTION))
        assert "-- city: London\r\n" in diff and "+- city: Berlin\r\n" in diff and "+++ entities/berlin.md" in diff
        assert (notes / "user.md").read_text() == "# Ada\n- city: London\n"
        await screen.type("?\r")
        assert "save it" in await screen.expect(QUESTION)
        await screen.type("y\r")
        assert "notes saved" in await screen.expect(PROMPT)
        await leave(screen)
    assert notes_in(notes) == {"user.md": b"# Ada\n- city: Berlin\n", "entities/berlin.md": b"# Berlin\n"}
    history = home / ".local" / "state" / "trioagent" / "history"
    assert history.read_text() == "I moved.\n"


async def test_no_with_words_for_the_agent(home: Path, notes: Path, serve: Serve) -> None:
    server = await serve(WRITE, WRITE, WRITE, REPLY)
    before = notes_in(notes)
    async with terminal("chat", "--review", "--memory", "notes", *at(server), home=home) as screen:
        await screen.expect(PROMPT)
        await screen.type("I moved.\r")
        await screen.expect(QUESTION)
        await screen.type("n\r")
        await screen.expect("what should the agent know?")
        await screen.type("keep London too\r")
        await screen.expect(QUESTION)
        await screen.type("not Berlin, Bern\r")
        await screen.expect(QUESTION)
        await screen.type_when_idle(CTRL_D)
        await screen.expect("what should the agent know?")
        await screen.type("\r")
        await screen.expect("Noted")
        await screen.expect(PROMPT)
        await leave(screen)
    assert notes_in(notes) == before
    results = [json.loads(request.content)["messages"][-1]["content"] for request in server.requests[1:]]
    assert ["keep London too" in results[0], "not Berlin, Bern" in results[1], "no reason" in results[2]] == [True] * 3


async def test_edit(home: Path, notes: Path, serve: Serve) -> None:
    editor = home / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/Berlin/Bern/ "$1"\n')
    editor.chmod(0o755)
    server = await serve(WRITE, REPLY)
    env = {"EDITOR": str(editor), "NO_COLOR": "1"}
    async with terminal("chat", "--review", "--memory", "notes", *at(server), home=home, env=env) as screen:
        await screen.expect(PROMPT)
        await screen.type("I moved.\r")
        await screen.expect(QUESTION)
        await screen.type("e\r")
        assert "2  user.md" in await screen.expect("which note?")
        await screen.type("2\r")
        diff = await screen.expect(QUESTION)
        assert "+- city: Bern\r\n" in diff and "+# Berlin\r\n" in diff
        await screen.type("y\r")
        await screen.expect("notes saved")
        await screen.expect(PROMPT)
        await leave(screen)
    assert notes_in(notes) == {"user.md": b"# Ada\n- city: Bern\n", "entities/berlin.md": b"# Berlin\n"}


async def test_a_save_while_the_user_thinks_is_a_conflict(home: Path, notes: Path, serve: Serve) -> None:
    """By an editor, in place or by rename; and of a note that the block only read."""
    server = await serve(WRITE, REPLY)
    async with terminal("chat", "--review", "--memory", "notes", *at(server), home=home) as screen:
        await screen.expect(PROMPT)
        await screen.type("I moved.\r")
        await screen.expect(QUESTION)
        (home / "new.md").write_text("# Ada\n- city: Lisbon\n")
        (home / "new.md").rename(notes / "user.md")
        await screen.type("y\r")
        assert "failed, nothing saved: MemoryConflictError" in await screen.expect(PROMPT)
        await leave(screen)
    assert notes_in(notes) == {"user.md": b"# Ada\n- city: Lisbon\n"}


async def test_ctrl_c_at_the_question_takes_the_message_back(home: Path, notes: Path, serve: Serve) -> None:
    server = await serve(WRITE, REPLY)
    before = notes_in(notes)
    async with terminal("chat", "--review", "--memory", "notes", *at(server), home=home) as screen:
        await screen.expect(PROMPT)
        await screen.type("I moved.\r")
        await screen.expect(QUESTION)
        await screen.type_when_idle(CTRL_C)
        await screen.expect("interrupted; the notes are as they were before this message")
        await screen.expect(PROMPT)
        await screen.type("hello\r")
        await screen.expect("Noted")
        await screen.expect(PROMPT)
        await leave(screen)
    assert notes_in(notes) == before


@pytest.mark.parametrize("by_profile", [True, False])
async def test_rules(home: Path, notes: Path, serve: Serve, by_profile: bool) -> None:
    """Data, of the profile or of the option: what they let pass is saved without a question."""
    rules = "entities/** auto, user.md auto, *.canvas reject"
    board = "<think>t</think><python>create_file('board.canvas', '{}')</python>"
    server = await serve(WRITE, board, REPLY)
    if by_profile:
        write_config(home, f'[profiles.default]\nreview = "{rules}"\n')
    option = () if by_profile else ("--review", rules)
    async with terminal("chat", *option, "--memory", "notes", *at(server), home=home) as screen:
        await screen.expect(PROMPT)
        await screen.type("I moved.\r")
        said = await screen.expect(PROMPT)
        assert "notes saved" in said and "board.canvas must not be changed" in said and QUESTION not in said
        await leave(screen)
    assert sorted(notes_in(notes)) == ["entities/berlin.md", "user.md"]


async def test_without_a_terminal_nobody_is_asked(home: Path, notes: Path, serve: Serve) -> None:
    server = await serve(WRITE, REPLY)
    before = notes_in(notes)
    done = await trioagent("chat", "--review", "--memory", "notes", *at(server), home=home, stdin=b"I moved.\n")
    assert done.code == 0 and notes_in(notes) == before
    assert "not a terminal" in json.loads(server.requests[1].content)["messages"][-1]["content"]


async def test_rules_that_are_none(home: Path) -> None:
    done = await trioagent("chat", "--review", "entities/** maybe", "--memory", "notes", home=home)
    assert done.code == 2 and "must have rules like 'entities/** auto'" in done.err
