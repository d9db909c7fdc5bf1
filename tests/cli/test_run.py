"""``trioagent run``: as a process, on the embedded model and on a model server."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import trio

from trioagent.testing import Fault, ModelServer, Say

from .conftest import Serve
from .support import SECONDS, command, environment, notes_in, started, trioagent

pytestmark = pytest.mark.real

OFFLINE = ("--model", "offline-rules")
WRITE = "<think>Note it.</think>\n<python>create_file('entities/ada.md', '# Ada\\n')</python>"
SPIN = "<think>Again.</think>\n<python>x = 1</python>"
REPLY = "<think>Done.</think>\n<python></python>\n<reply>Noted, é€.</reply>"


def at(server: ModelServer) -> tuple[str, ...]:
    return ("--model", "any", "--base-url", server.base_url)


async def test_what_one_run_remembers_another_knows(home: Path) -> None:
    told = await trioagent("run", "My sister Ada lives in Lisbon.", "--memory", "notes", *OFFLINE, home=home)
    assert (told.code, told.err) == (0, "")
    assert any(b"Lisbon" in text for text in notes_in(home / "notes").values())
    asked = await trioagent("run", "Where does my sister live?", "--memory", "notes", home=home)
    assert asked.code == 0
    assert "Lisbon" in asked.out
    assert asked.err.startswith("note: no model is configured: using offline-rules")
    assert len(asked.err.splitlines()) == 1


async def test_json(home: Path, serve: Serve) -> None:
    server = await serve(WRITE, REPLY)
    done = await trioagent("run", "Ada exists.", "--memory", "notes", "--json", *at(server), home=home)
    assert (done.code, done.err) == (0, "")
    said = json.loads(done.out)
    assert said["reply"] == "Noted, é€."
    assert said["thoughts"] == "Done."
    assert said["python_block"] == "create_file('entities/ada.md', '# Ada\\n')"
    assert (said["turns"], said["blocks_saved"], said["stop_reason"]) == (2, 1, "reply")
    assert said["tier"] and said["model"] == "any"
    assert said["usage"]["requests"] == 2
    assert said["repairs"] == {}
    assert notes_in(home / "notes") == {"entities/ada.md": b"# Ada\n"}


async def test_the_message_from_stdin_and_the_prompt_from_a_file(home: Path, serve: Serve) -> None:
    server = await serve(REPLY)
    (home / "prompt.txt").write_text("Be kind to ü.", encoding="utf-8")
    arguments = ("run", "-", "--memory", "notes", "--system-prompt", "prompt.txt", *at(server))
    done = await trioagent(*arguments, home=home, stdin="Grüße\nvon Ada".encode(), env={"TRIOAGENT_API_KEY": "sk-x"})
    assert (done.code, done.out, done.err) == (0, "Noted, é€.\n", "")
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer sk-x"
    messages = json.loads(request.content)["messages"]
    assert messages[0] == {"role": "system", "content": "Be kind to ü."}
    assert messages[1] == {"role": "user", "content": "Grüße\nvon Ada"}


async def test_a_reply_on_a_terminal_that_cannot_show_it(home: Path, serve: Serve) -> None:
    server = await serve("<reply>é€\x1b[2J</reply>")
    env = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = await trio.run_process(
        ["/bin/sh", "-c", 'exec "$@" | od -c', "sh", *command("run", "hi", "--memory", "notes", *at(server))],
        capture_stdout=True,
        env=environment(home, **env),
        cwd=home,
    )
    assert b"351   \\   u   2   0   a   c   \\   x   1   b   [   2   J  \\n" in done.stdout


async def test_a_model_that_never_replies(home: Path, serve: Serve) -> None:
    server = await serve(SPIN, SPIN)
    arguments = ("run", "hi", "--memory", "notes", "--max-tool-turns", "1", "--json")
    done = await trioagent(*arguments, *at(server), home=home)
    assert done.code == 1
    assert json.loads(done.out)["stop_reason"] == "max_tool_turns"
    assert done.err.startswith("error: no reply: ")
    assert len(done.err.splitlines()) == 1


async def test_a_reply_that_was_cut_is_none(home: Path, serve: Serve) -> None:
    server = await serve(Say("<think>t</think><python></python><reply>Your note has been mov", finish_reason="length"))
    arguments = ("run", "hi", "--memory", "notes", "--max-tool-turns", "0", "--json")
    done = await trioagent(*arguments, *at(server), home=home)
    said = json.loads(done.out)
    assert (done.code, said["stop_reason"], said["reply"]) == (1, "cut", "")
    assert said["partial"] == "Your note has been mov" and said["finish_reasons"] == ["length"]
    assert "was cut" in done.err and "max_tokens" in done.err


async def test_waiting_for_a_busy_model_is_said(home: Path, serve: Serve) -> None:
    server = await serve(Fault.status(429, "busy", retry_after=0.01), REPLY)
    done = await trioagent("run", "hi", "--memory", "notes", *at(server), home=home)
    assert (done.code, done.out) == (0, "Noted, é€.\n")
    assert "status 429" in done.err and "trying again" in done.err


async def test_ctrl_c_takes_back_what_the_message_changed(home: Path, serve: Serve) -> None:
    server = await serve(WRITE, Fault.hang())
    (home / "notes").mkdir()
    (home / "notes" / "user.md").write_bytes(b"# Me\r\n")
    async with started(["run", "hi", "--memory", "notes", *at(server)], home=home) as process:
        await _until_exists(home / "notes" / "entities" / "ada.md")
        process.send_signal(signal.SIGINT)
        code, out, err = await _rest(process)
    assert (code, out) == (130, "")
    assert err == "interrupted; the notes are as they were before this message\n"
    assert notes_in(home / "notes") == {"user.md": b"# Me\r\n"}
    assert sorted(path.name for path in (home / "notes").iterdir()) == [".trioagent", "user.md"]


async def test_ctrl_c_does_not_undo_what_somebody_else_has_changed(home: Path, serve: Serve) -> None:
    server = await serve(WRITE, Fault.hang())
    ada = home / "notes" / "entities" / "ada.md"
    async with started(["run", "hi", "--memory", "notes", *at(server)], home=home) as process:
        await _until_exists(ada)
        ada.write_text("# Ada, by hand\n")
        process.send_signal(signal.SIGINT)
        code, _, err = await _rest(process)
    assert code == 130
    assert "entities/ada.md has been changed by someone else" in err
    assert ada.read_text() == "# Ada, by hand\n"


async def test_ctrl_c_before_the_model_has_said_anything(home: Path, serve: Serve) -> None:
    server = await serve(Fault.hang())
    async with started(["run", "hi", "--memory", "notes", *at(server)], home=home) as process:
        with trio.fail_after(SECONDS):
            while not server.requests:
                await trio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        code, _, err = await _rest(process)
    assert (code, err) == (130, "interrupted; the notes are as they were before this message\n")


async def test_a_slow_reply_is_waited_for(home: Path, serve: Serve) -> None:
    server = await serve(Say(REPLY, chunk=5, pace=0.001))
    done = await trioagent("run", "hi", "--memory", "notes", *at(server), home=home)
    assert (done.code, done.out, done.err) == (0, "Noted, é€.\n", "")


async def _until_exists(path: Path) -> None:
    with trio.fail_after(SECONDS):
        while not path.exists():
            await trio.sleep(0.005)


async def _rest(process: trio.Process) -> tuple[int, str, str]:
    """Exit code and output, once the command has ended."""
    assert process.stdout is not None
    assert process.stderr is not None
    with trio.fail_after(SECONDS):
        out = b"".join([piece async for piece in process.stdout])
        err = b"".join([piece async for piece in process.stderr])
        return await process.wait(), out.decode(), err.decode()


async def test_ctrl_c_again_and_again_leaves_nothing_and_is_said_once(home: Path, serve: Serve) -> None:
    server = await serve(WRITE, Fault.hang())
    async with started(["run", "hi", "--memory", "notes", *at(server)], home=home) as process:
        await _until_exists(home / "notes" / "entities" / "ada.md")
        with trio.move_on_after(SECONDS):
            while process.returncode is None:  # through the rollback, the sandbox's end and the interpreter's
                process.send_signal(signal.SIGINT)
                await trio.sleep(0.001)
        code, out, err = await _rest(process)
    assert (code, out, err) == (130, "", "interrupted; the notes are as they were before this message\n")
    assert notes_in(home / "notes") == {}
