"""``trioagent chat``: on a terminal of its own, and with lines from a pipe."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from trioagent.cli._chat import about_new_memory
from trioagent.testing import Fault, Say

from .conftest import Serve
from .support import Terminal, notes_in, terminal, trioagent
from .test_run import REPLY, SPIN, WRITE, at

pytestmark = pytest.mark.real

CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"
STYLE = re.compile(r"\x1b\[[0-9;]*m")
PASTE_MODE = re.compile(r"\x1b\[\?2004[hl]\r?")
PROMPT = "you> "


async def leave(screen: Terminal) -> None:
    await screen.type(CTRL_D)
    assert await screen.end() == 0


async def test_a_conversation(home: Path) -> None:
    async with terminal("chat", "--memory", "notes", "--model", "offline-rules", home=home) as screen:
        assert "offline-rules, notes in notes" in await screen.expect(PROMPT)
        await screen.type("My sister Ada lives in Lisbon.\r")
        assert "notes saved (" in await screen.expect(PROMPT)
        await screen.type("\r")
        await screen.expect(PROMPT)
        await screen.type("Where does my sister live?\r")
        assert "Lisbon" in await screen.expect(PROMPT)
        await leave(screen)
        assert STYLE.search(screen.output)
    history = home / ".local" / "state" / "trioagent" / "history"
    assert history.read_text() == "My sister Ada lives in Lisbon.\nWhere does my sister live?\n"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


async def test_quiet_shows_only_the_replies(home: Path, serve: Serve) -> None:
    server = await serve(WRITE, REPLY)
    async with terminal("chat", "-q", "--memory", "notes", *at(server), home=home, env={"NO_COLOR": "1"}) as screen:
        assert PASTE_MODE.sub("", await screen.expect(PROMPT)) == ""
        await screen.type("Ada exists.\r")
        assert PASTE_MODE.sub("", await screen.expect(PROMPT)) == "Ada exists.\r\nNoted, é€.\r\n"
        await screen.type("/quit\r")
        assert await screen.end() == 0


async def test_ctrl_c_in_a_turn_leaves_notes_and_conversation_as_before(home: Path, serve: Serve) -> None:
    server = await serve(REPLY, WRITE, Fault.hang_mid_body("<think>Thinking about"), REPLY)
    async with terminal("chat", "--memory", "notes", *at(server), home=home) as screen:
        await screen.expect(PROMPT)
        await screen.type("one\r")
        await screen.expect(PROMPT)
        before = notes_in(home / "notes")
        await screen.type("two\r")
        await screen.expect("notes saved")
        await screen.expect("Thinking about")
        assert "entities/ada.md" in notes_in(home / "notes")
        await screen.type(CTRL_C)
        await screen.expect("interrupted; the notes are as they were before this message")
        await screen.expect(PROMPT)
        assert notes_in(home / "notes") == before
        assert [path.name for path in (home / "notes").iterdir()] == [".trioagent"]  # the history has both
        await screen.type("three\r")
        await screen.expect("Noted")
        await screen.expect(PROMPT)
        await leave(screen)
    said = [message["content"] for message in json.loads(server.requests[-1].content)["messages"][1:]]
    assert [text for text in said if not text.startswith("<think>")] == ["one", "three"]


async def test_ctrl_c_while_code_runs(home: Path, serve: Serve) -> None:
    endless = "<think>t</think><python>\ncreate_file('a.md', 'x')\nwhile True:\n    pass\n</python>"
    server = await serve(endless, REPLY)
    async with terminal("chat", "--memory", "notes", *at(server), home=home) as screen:
        await screen.expect(PROMPT)
        await screen.type("go\r")
        await screen.expect("pass")
        await screen.type(CTRL_C)
        await screen.expect("interrupted; the notes are as they were before this message")
        await screen.expect(PROMPT)
        await screen.type("still there?\r")  # Ctrl-C went to all of the terminal's processes: the sandbox must live on
        await screen.expect("Noted")
        await screen.expect(PROMPT)
        await leave(screen)
    assert notes_in(home / "notes") == {}


async def test_ctrl_c_at_the_prompt_clears_the_line(home: Path, serve: Serve) -> None:
    server = await serve(WRITE, REPLY)
    async with terminal("chat", "--memory", "notes", *at(server), home=home) as screen:
        await screen.expect(PROMPT)
        await screen.type("not this")
        await screen.expect("not this")
        await screen.type_when_idle(CTRL_C)
        await screen.expect(PROMPT)
        await screen.type("this\r")
        await screen.expect("notes saved")  # the sandbox has survived the Ctrl-C, too
        await screen.expect(PROMPT)
        await leave(screen)
    assert json.loads(server.requests[0].content)["messages"][1]["content"] == "this"


async def test_history_of_an_earlier_session(home: Path, serve: Serve) -> None:
    server = await serve(REPLY)
    history = home / "state" / "trioagent" / "history"
    history.parent.mkdir(parents=True)
    history.write_text("older\nnewer\n")
    history.chmod(0o644)
    env = {"XDG_STATE_HOME": str(home / "state")}
    async with terminal("chat", "--memory", "notes", *at(server), home=home, env=env) as screen:
        await screen.expect(PROMPT)
        await screen.type(f"{UP}{UP}!\r")
        await screen.expect("Noted")
        await screen.expect(PROMPT)
        await leave(screen)
    assert json.loads(server.requests[0].content)["messages"][1]["content"] == "older!"
    assert history.read_text() == "older\nnewer\nolder!\n"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


async def test_a_history_that_cannot_be_written_is_said_once_and_harms_nothing(home: Path, serve: Serve) -> None:
    server = await serve(REPLY, REPLY)
    (home / "state").write_text("a file, not a folder")
    env = {"XDG_STATE_HOME": str(home / "state")}
    async with terminal("chat", "--memory", "notes", *at(server), home=home, env=env) as screen:
        assert "the history is not kept" in await screen.expect(PROMPT)
        for _ in range(2):
            await screen.type("hi\r")
            assert "the history is not kept" not in await screen.expect(PROMPT)
        assert screen.output.count("the conversation is not kept") == 1
        await leave(screen)


async def test_a_failing_model_ends_only_the_turn(home: Path, serve: Serve) -> None:
    server = await serve(Fault.status(401, "bad key"), SPIN, REPLY)
    arguments = ("chat", "--memory", "notes", "--max-tool-turns", "0", *at(server))
    async with terminal(*arguments, home=home) as screen:
        await screen.expect(PROMPT)
        await screen.type("one\r")
        assert "error: the model's server answered with status 401 (check the API key)" in await screen.expect(PROMPT)
        await screen.type("two\r")
        assert "note: no reply: the model still wanted to run code" in await screen.expect(PROMPT)
        await screen.type("three\r")
        assert "Noted" in await screen.expect(PROMPT)
        await leave(screen)


async def test_commands(home: Path, serve: Serve) -> None:
    server = await serve(REPLY)
    async with terminal("chat", "--memory", "notes", *at(server), home=home, env={"NO_COLOR": "1"}) as screen:
        await screen.expect(PROMPT)
        await screen.type("/help\r")
        assert "/save [DIR]" in await screen.expect(PROMPT)
        await screen.type("/sav\r")
        assert "there is no command /sav" in await screen.expect(PROMPT)
        await screen.type("hi\r")
        await screen.expect(PROMPT)
        await screen.type("/save kept here\r")
        await screen.expect("saved as kept here/convo_")
        await screen.expect(PROMPT)
        await screen.type("/quit\r")
        assert await screen.end() == 0
        assert not STYLE.search(screen.output)
    (saved,) = (home / "kept here").iterdir()
    assert [m["role"] for m in json.loads(saved.read_text())["messages"]] == ["system", "user", "assistant"]


async def test_the_reply_is_shown_as_it_comes(home: Path, serve: Serve) -> None:
    server = await serve(Fault.hang_mid_body("<think>t</think><python></python><reply>The first half"))
    async with terminal("chat", "--memory", "notes", *at(server), home=home) as screen:
        await screen.expect(PROMPT)
        await screen.type("hi\r")
        await screen.expect("The first ha")  # the last letters wait: they could begin a tag
        await screen.type(CTRL_C)
        await screen.expect(PROMPT)
        await leave(screen)


async def test_lines_from_a_pipe(home: Path, serve: Serve) -> None:
    server = await serve(REPLY, Say(REPLY.replace("Noted", "Again")))
    done = await trioagent("chat", "--quiet", "--memory", "notes", *at(server), home=home, stdin=b"one\n\n  \ntwo")
    assert (done.code, done.out, done.err) == (0, "Noted, é€.\nAgain, é€.\n", "")


async def test_the_first_failure_ends_lines_from_a_pipe(home: Path, serve: Serve) -> None:
    server = await serve(REPLY, Fault.status(400, "no"), REPLY)
    done = await trioagent("chat", "-q", "--memory", "notes", *at(server), home=home, stdin=b"one\ntwo\nthree\n")
    assert (done.code, done.out) == (1, "Noted, é€.\n")
    assert done.err == "error: the model's server answered with status 400: no\n"
    assert len(server.requests) == 2


async def test_notes_diff_and_undo(home: Path, serve: Serve) -> None:
    server = await serve(WRITE, REPLY, REPLY, REPLY)
    async with terminal("chat", "--memory", "notes", *at(server), home=home, env={"NO_COLOR": "1"}) as screen:
        assert "note: the memory notes is new" in await screen.expect(PROMPT)
        await screen.type("/undo\r")
        assert "there is no message to undo" in await screen.expect(PROMPT)
        await screen.type("one\r")
        assert "(24 tokens read, 6 written, " in await screen.expect(PROMPT)
        await screen.type("/notes\r")
        assert "ada.md  (6)" in await screen.expect(PROMPT)
        await screen.type("/diff\r")
        assert "--- /dev/null\r\n+++ b/entities/ada.md\r\n@@ -0,0 +1 @@\r\n+# Ada\r\n" in await screen.expect(PROMPT)
        await screen.type("two\r")
        await screen.expect(PROMPT)
        await screen.type("/diff\r")
        assert "your last message changed nothing in the notes" in await screen.expect(PROMPT)
        await screen.type("/undo\r")
        assert "undone; no note had changed" in await screen.expect(PROMPT)
        await screen.type("/undo\r")
        assert "undone; rolled back: entities/ada.md" in await screen.expect(PROMPT)
        await screen.type("three\r")
        await screen.expect(PROMPT)
        await leave(screen)
    assert notes_in(home / "notes") == {}
    assert [message["content"] for message in server.requests[-1].messages[1:]] == ["three"]


async def test_what_is_pasted_is_one_message(home: Path, serve: Serve) -> None:
    server = await serve(REPLY)
    async with terminal("chat", "--memory", "notes", *at(server), home=home) as screen:
        await screen.expect(PROMPT)
        await screen.type("\x1b[200~first line\nsecond line\x1b[201~\r")
        await screen.expect("Noted")
        await screen.expect(PROMPT)
        await leave(screen)
    assert [request.messages[-1]["content"] for request in server.requests] == ["first line\nsecond line"]


async def test_lines_from_an_editor_of_another_system(home: Path, serve: Serve) -> None:
    server = await serve(REPLY, REPLY, REPLY)
    stdin = "\ufeffone\r\ntwo\r\n".encode()
    done = await trioagent("chat", "--quiet", "--memory", "notes", *at(server), home=home, stdin=stdin)
    assert done.code == 0
    await trioagent("run", "-", "--memory", "notes", *at(server), home=home, stdin="\ufeffthree".encode())
    assert [request.messages[-1]["content"] for request in server.requests] == ["one", "two", "three"]


def test_a_memory_that_may_be_meant(tmp_path: Path) -> None:
    (tmp_path / "ada").mkdir()
    assert (
        about_new_memory(tmp_path / "adda")
        == f"the memory {tmp_path / 'adda'} is new; did you mean {tmp_path / 'ada'}?"
    )
    assert about_new_memory(tmp_path / "ada") == f"the memory {tmp_path / 'ada'} is empty"
    (tmp_path / "ada" / "user.md").write_text("x")
    assert about_new_memory(tmp_path / "ada") == ""


async def test_an_earlier_conversation_goes_on(home: Path, serve: Serve) -> None:
    server = await serve(REPLY, REPLY)
    missing = await trioagent("chat", "--continue", "--memory", "notes", *at(server), home=home)
    assert missing.err == "error: --continue: there is no earlier conversation over 'notes'\n"
    assert missing.code == 2
    for options, text in (((), "one"), (("--continue",), "two")):
        async with terminal("chat", *options, "--memory", "notes", *at(server), home=home) as screen:
            await screen.expect(PROMPT)
            await screen.type(f"{text}\r")
            await screen.expect("Noted")
            await screen.expect(PROMPT)
            await leave(screen)
    messages = server.requests[-1].messages
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert (messages[1]["content"], messages[3]["content"]) == ("one", "two")
    (kept,) = (home / ".local" / "state" / "trioagent" / "conversations").iterdir()
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    kept.write_text("[{}]")
    damaged = await trioagent("chat", "--continue", "--memory", "notes", *at(server), home=home)
    assert damaged.code == 2 and "lacks the fields 'role', 'content'" in damaged.err


async def test_a_line_that_ends_with_a_backslash_goes_on(home: Path, serve: Serve) -> None:
    server = await serve(REPLY)
    async with terminal("chat", "--memory", "notes", *at(server), home=home) as screen:
        await screen.expect(PROMPT)
        await screen.type("one\\\r")
        await screen.expect("...> ")
        await screen.type("two\r")
        await screen.expect("Noted")
        await screen.expect(PROMPT)
        await leave(screen)
    assert json.loads(server.requests[0].content)["messages"][1]["content"] == "one\ntwo"


async def test_what_is_waited_for_is_said(home: Path, serve: Serve) -> None:
    slow = "<think>t</think><python>\nimport time\ntime.sleep(2)\n</python>"
    server = await serve(slow, Say(REPLY, delay=2))
    async with terminal("chat", "--memory", "notes", *at(server), home=home) as screen:
        await screen.expect(PROMPT)
        await screen.type("hello\r")
        await screen.expect("running the code ")
        await screen.expect("= ok")
        await screen.expect("waiting for any ")
        rest = (await screen.expect("Noted")).rpartition("waiting")[2]
        assert "\x1b[2K" in rest  # erased before anything else is shown
        await screen.expect(PROMPT)
        await leave(screen)


async def test_replies_are_wrapped_between_words(home: Path, serve: Serve) -> None:
    words = " ".join(f"word{number}" for number in range(40))
    server = await serve(REPLY.replace("Noted, é€.", words))
    env = {"COLUMNS": "40", "NO_COLOR": "1"}
    async with terminal("chat", "-q", "--memory", "notes", *at(server), home=home, env=env) as screen:
        await screen.expect(PROMPT)
        await screen.type("hello\r")
        shown = (await screen.expect(PROMPT)).partition("hello\r\n")[2]
        await leave(screen)
    lines = re.sub(r"\w*\x1b\[\d+D\x1b\[K", "", PASTE_MODE.sub("", shown)).split("\r\n")
    assert " ".join(line.strip() for line in lines).split() == words.split()
    assert max(map(len, lines)) <= 40 and len(lines) > 7
