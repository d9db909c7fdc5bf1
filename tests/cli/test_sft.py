"""``trioagent sft generate``: what it says, its exit codes, and that it can be interrupted and resumed."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent.batch import read_rows
from trioagent.testing import ModelRequest, serve_model

from .batch_support import rest
from .conftest import Run
from .support import SECONDS, started, trioagent

pytestmark = pytest.mark.real

NOTE = "<think>Note it.</think>\n<python>\ncreate_file('user.md', 'Porto')\n</python>"
REPLY = "<think>Done.</think>\n<python></python>\n<reply>Noted.</reply>"


def write_personas(home: Path, count: int = 2, **change: Any) -> None:
    rows = [
        {
            "persona": {
                "name_surname": f"Robin {number}",
                "age": 30,
                "gender": "male",
                "birthplace": {"city": "Oslo", "country": "Norway"},
                "occupation": "cook",
                "detailed_backstory": "Likes snow.",
                "relationships": [],
            },
            "facts": ["I live in Porto."],
            **change,
        }
        for number in range(count)
    ]
    (home / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def arguments(*more: str, flow: str = "introduce") -> list[str]:
    return ["sft", "generate", "--personas", "people.jsonl", "--flow", flow, "--out", "out", "--turns", "1", *more]


def test_help(run: Run) -> None:
    said = run("sft", "generate", "--help")
    assert (said.code, said.err) == (0, "")
    for word in ("--persona-model", "--judge-model", "--retries", "introduce", "update", "retrieve", "Exit codes: "):
        assert word in said.out


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        ({"facts": []}, {}, "  line 1: facts: is empty; a conversation needs at least one fact\n"),
        ({"fact": []}, {}, '  line 1: row: must be {"persona": {…}, "facts": […]}, not '),
        ({"persona": {"name_surname": "x"}}, {}, "  line 1: persona: lacks the fields 'age', 'gender', "),
        ({"facts": ["a\0b"]}, {}, "  line 1: facts[0]: holds a character that no file can (NUL, or a lone surrogate"),
        ({"facts": ["—"]}, {}, "  line 1: facts[0].fact_description: has no word to recognise it by: '—'\n"),
        (
            {},
            {"flow": "retrieve"},
            "  line 1: facts[0].question: is missing, and a scripted persona asks no other\n",
        ),
        (
            {},
            {"flow": "update"},
            "  line 1: facts: has no fact that changes; the flow 'update' needs one with `previous`",
        ),
    ],
)
def test_bad_rows(change: dict[str, Any], more: dict[str, str], said: str, home: Path, run: Run) -> None:
    write_personas(home, 1, **change)
    ended = run(*arguments("--model", "offline-rules", **more))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: people.jsonl: 1 bad row; nothing was run\n")
    assert said in ended.err
    assert not (home / "out").exists()


def test_bad_options(home: Path, run: Run) -> None:
    ended = run(*arguments())
    assert (ended.code, ended.err) == (2, "error: people.jsonl: cannot be read: No such file or directory\n")
    write_personas(home)
    ended = run(*arguments("--judge-model", "offline-rules"))
    assert ended.code == 2
    assert "offline-rules is not a language model" in ended.err
    assert run(*arguments("--turns", "0")).code == 2
    assert not (home / "out").exists()


def test_a_question_is_needed_by_the_script_only(home: Path, run: Run) -> None:
    """A model finds its own words; here its server's key is missing, which is checked after the rows."""
    write_personas(home)
    ended = run(*arguments("--model", "offline-rules", "--persona-model", "openai:any", flow="retrieve"))
    assert ended.code == 2
    assert "'openai:any' needs one" in ended.err
    assert not (home / "out").exists()


def test_a_folder_of_other_runs_is_refused(home: Path, run: Run) -> None:
    """Both ways, before anything is spent; and what is in it stays as it is."""
    write_personas(home, 1)
    (home / "jobs.jsonl").write_text(json.dumps({"id": "a", "memory": "m", "messages": ["I live in Oslo."]}))
    sft, batch = arguments("--quiet"), ["batch", "jobs.jsonl", "--run-dir", "out", "--quiet"]
    for first, second, words in (
        (sft, batch, "holds training conversations, not batch jobs"),
        (batch, sft, "holds batch jobs, not training conversations"),
    ):
        assert run(*first, "--model", "offline-rules").code == 0
        files = {path.name: path.read_bytes() for path in (home / "out").iterdir() if path.suffix != ".db"}
        ended = run(*second, "--model", "offline-rules")
        assert (ended.code, ended.out) == (1, "")
        assert ended.err == f"error: the batch's journal 'out/journal.db': {words}; use another run directory\n"
        assert {path.name: path.read_bytes() for path in (home / "out").iterdir() if path.suffix != ".db"} == files
        assert run(*first, "--model", "offline-rules").code == 0
        shutil.rmtree(home / "out")


def test_a_run_that_was_begun_otherwise(home: Path, run: Run) -> None:
    write_personas(home, 1)
    assert run(*arguments("--model", "offline-rules", "--quiet")).code == 0
    ended = run(*arguments("--model", "offline-rules", "--turns", "2"))
    assert ended.code == 1
    assert ended.err.startswith("error: 'persona-0' has changed since the run in 'out' began (its position, ")


@pytest.mark.parametrize("which", ["persona", "judge"])
def test_options_of_a_model_that_nobody_asked_for(which: str, home: Path, run: Run) -> None:
    write_personas(home, 1)
    ended = run(*arguments("--model", "offline-rules", f"--{which}-option", "temperature=0"))
    assert ended.code == 2
    assert f"--{which}-option needs --{which}-model" in ended.err


async def test_rejected_and_tried_again(home: Path, nursery: trio.Nursery) -> None:
    """With a model that plays the personas, and one that judges, at one server."""
    good = False
    (home / "more.txt").write_text("Write notes in Dutch.")

    def answer(request: ModelRequest) -> str:
        who = request.body["model"]
        assert request.body["temperature"] == {"player": 0.9, "judge": 0, "any": 0.5}[who]
        assert (who == "any") == ("Dutch." in request.messages[0]["content"])
        if request.body["model"] == "player":
            return "I live in Porto."
        if request.body["model"] == "judge":
            return '{"reason": "Fine.", "verdict": "accept"}' if good else '{"reason": "Dull.", "verdict": "reject"}'
        return REPLY if request.messages[-1]["content"].startswith("<result>") else NOTE

    server = await nursery.start(serve_model, answer)
    write_personas(home, 2)
    command = arguments(
        "--model",
        "any",
        "--base-url",
        server.base_url,
        "--persona-model",
        "player",
        "--judge-model",
        "judge",
        "--retries",
        "1",
        *("-o", "temperature=0.5", "--persona-option", "temperature=0.9", "--judge-option", "temperature=0"),
        *("--system-prompt-append", "more.txt"),
    )
    ended = await trioagent(*command, home=home)
    assert (ended.code, ended.out) == (1, "")
    lines = ended.err.splitlines()
    assert lines[1:6] == [
        "accepted       0 of 2 (0%)",
        "rejected       2; see out/rejected.jsonl",
        "attempts       4",
        "did not pass   judge 4",
        "for example    persona-0: judge: Dull.",
    ]
    assert lines[-1].startswith("to retry the rejected ones: trioagent sft generate --personas people.jsonl ")
    assert lines[-1].endswith(" --retry-rejected")
    assert server.served == 4 * 4
    good = True
    assert (await trioagent(*command, "--quiet", home=home)).code == 1
    assert server.served == 4 * 4
    ended = await trioagent(*command, "--retry-rejected", "--quiet", "--json-progress", home=home)
    assert (ended.code, ended.err) == (0, "")
    last = json.loads(ended.out.splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("end", 0)
    assert [person["state"] for person in last["report"]["personas"]] == ["accepted", "accepted"]
    rows = list(read_rows(home / "out" / "conversations.jsonl"))
    assert [row["models"] for row in rows] == [{"agent": "any", "persona": "player", "judge": "judge"}]
    assert set(rows[0]["tokens"]) == {"agent", "persona", "judge"}
    assert last["report"]["personas"][1]["duplicate_of"] == "persona-0"
    (home / "more.txt").write_text("Write Dutch. Notes too.")
    ended = await trioagent(*command, "--judge-option", "temperature=1", home=home)
    assert ended.code == 2
    assert "judge's temperature was 0 and is 1" in ended.err and "prompt was " in ended.err


async def test_interrupted_and_gone_on_with(home: Path, nursery: trio.Nursery) -> None:
    asked = 0
    third = trio.Event()

    async def answer(request: ModelRequest) -> str:
        nonlocal asked
        asked += 1
        if asked == 3:
            third.set()
            await trio.sleep(0.3)  # still at work when the signal comes
        return REPLY if request.messages[-1]["content"].startswith("<result>") else NOTE

    server = await nursery.start(serve_model, answer)
    write_personas(home, 4)
    command = arguments("--model", "any", "--base-url", server.base_url, "--max-concurrent", "1")
    async with started(command, home=home) as process:
        with trio.fail_after(SECONDS):
            await third.wait()
        process.send_signal(signal.SIGINT)
        code, out, err = await rest(process)
    assert (code, out) == (130, "")
    lines = err.splitlines()
    assert lines[0] == (
        "SIGINT: no new attempt begins; those under way have 10 s to end (another one stops them at once)"
    )
    assert "to resume      2" in lines
    assert lines[-1].startswith("interrupted; to resume: trioagent sft generate --personas people.jsonl ")
    assert [row["id"] for row in read_rows(home / "out" / "conversations.jsonl")] == ["persona-0", "persona-1"]
    assert not (home / "out" / "memories").exists()
    ended = await trioagent(*command, home=home)
    assert ended.code == 0
    assert len(list(read_rows(home / "out" / "conversations.jsonl"))) == 4
    assert asked == 4 * 2
