"""Evaluations as runs: real servers over HTTP, real sandboxes, real kills."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from trioagent import BatchConfig, InvalidInputError, ModelConfig, open_runtime
from trioagent._runs import RunBrowser
from trioagent.batch import FAILURES, RunChangedError, read_rows
from trioagent.evals import (
    SAMPLES,
    Contains,
    EvalReport,
    Sample,
    SetUp,
    compare_runs,
    run_eval,
)
from trioagent.server._transcript import Said, job_view
from trioagent.testing import Fault, ModelRequest, ModelServer, serve_model

from .eval_child import GIVEN, TOLD, samples

pytestmark = pytest.mark.real

CHILD = Path(__file__).with_name("eval_child.py")
NOTE = "<think>note</think>\n<python>\nwith open('log.md', 'a') as file:\n    file.write({fact!r} + '\\n')\n</python>"
LOOK = "<think>look</think>\n<python>\nknown = read_file('log.md')\n</python>"
DONE = "<think>done</think>\n<python></python>\n<reply>{reply}</reply>"
JUDGED = json.dumps({"reason": "I say so.", "correct": True})


class Model:
    """Deterministic: notes facts, and answers questions with what the notes say. Keeps count of who asked for what."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def __call__(self, request: ModelRequest) -> str:
        messages = request.body["messages"]
        self.asked[json.dumps(messages)] += 1
        if "You grade answers" in messages[0]["content"]:
            return JUDGED
        last = messages[-1]["content"]
        if last.startswith("Fact: "):
            return NOTE.format(fact=last.removeprefix("Fact: "))
        if not last.startswith("<result>"):
            return LOOK
        return DONE.format(reply=last if "known" in last else "Noted.")


Serve = Callable[[Any], Any]


@pytest.fixture
def serve(nursery: trio.Nursery) -> Serve:
    async def start(answers: Any) -> ModelServer:
        server: ModelServer = await nursery.start(serve_model, answers)
        return server

    return start


async def evaluated(
    server: ModelServer, run_dir: Path, asked: Sequence[Sample] | None = None, **arguments: Any
) -> EvalReport:
    config = BatchConfig(**{"outage_patience": 0.0, **arguments.pop("config", {})})
    async with open_runtime(ModelConfig(base_url=server.base_url, model="test")) as runtime:
        judge = runtime.model if arguments.pop("judged", False) else None
        given = samples() if asked is None else asked
        return await run_eval(
            given, suite="own", runtime=runtime, run_dir=run_dir, config=config, judge=judge, **arguments
        )


def rows(run_dir: Path) -> dict[str, dict[str, Any]]:
    """What was written of each sample, but for the seconds it took."""
    found = [dict(row) for row in read_rows(run_dir / SAMPLES)]
    for row in found:
        assert row.pop("seconds") >= 0
        row.pop("attempts", None)
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row for row in found}


async def test_samples_start_from_what_was_told_once(tmp_path: Path, serve: Serve) -> None:
    model = Model()
    report = await evaluated(await serve(model), tmp_path / "run")
    found = rows(tmp_path / "run")
    assert {key: row["score"] for key, row in found.items() if row["kind"] == "sample"} == {
        "told/0": 1,
        "told/1": 0,
        "told/2": 1,
        "given/0": 1,
        "given/1": 1,
    }
    assert max(model.asked.values()) == 2  # "What do you know?" is asked of both set-ups, before any note is read
    told = [json.loads(asked)[-1]["content"] for asked in model.asked]
    assert told.count(TOLD.messages[0]) == 1
    assert found["told/2"]["changed"] == ["log.md"]
    assert found["told/2"]["notes_before"] == {"log.md": "I live in Porto.\nI have a cat.\n"}
    assert found["told/2"]["notes_after"] == {"log.md": "I live in Porto.\nI have a cat.\nI have a dog.\n"}
    wrong = found["told/1"]
    assert wrong["reason"] == "the reply does not say 'London'"
    assert wrong["notes_before"] == {"user.md": "# Ada\n", "log.md": "I live in Porto.\nI have a cat.\n"}
    assert [message["role"] for message in wrong["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    assert (wrong["model"], wrong["baseline"], wrong["turns"], wrong["blocks"]) == ("test", "agent", 2, 1)
    total = report.total
    assert (total.samples, total.correct, total.failed, total.score) == (5, 4, 0, 0.8)
    assert [(one.category, one.score) for one in report.categories] == [("asked", pytest.approx(2 / 3)), ("changed", 1)]
    assert report.set_up_tokens > 0
    assert json.loads((tmp_path / "run" / "eval.json").read_text())["total"]["score"] == 0.8
    assert list((tmp_path / "run" / "memories").iterdir()) == []
    kept = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "run" / "set-ups").rglob("*.md"))
    assert len(kept) == 3
    assert changed_lines(tmp_path / "run", "told/2") == [[" I live in Porto.", " I have a cat.", "+I have a dog."]]
    assert changed_lines(tmp_path / "run", "told/0") == [[]]
    assert changed_lines(tmp_path / "run", "set-up:told") == [
        ["+I live in Porto."],
        [" I live in Porto.", "+I have a cat."],
    ]


def changed_lines(run_dir: Path, job: str) -> list[list[str]]:
    """Of each block the lines that the page shows as changed, with those around them."""
    with RunBrowser(run_dir) as browser:
        results = [entry for entry in job_view(browser.job(job)).entries if isinstance(entry, Said)]
    return [
        [f"{sign}{text}" for change in entry.changes for hunk in change.hunks or () for sign, text in hunk.lines]
        for entry in results
        if entry.role == "tool"
    ]


KILLS = [(2, "after"), (5, "before"), (9, "after"), (14, "before"), (19, "after")]


@pytest.mark.parametrize("name", ["plain", "judged"])
async def test_killed_and_resumed(tmp_path: Path, serve: Serve, name: str) -> None:
    model = Model()
    server = await serve(model)
    await evaluated(server, tmp_path / "undisturbed" / name, judged=name == "judged")
    undisturbed, asked = rows(tmp_path / "undisturbed" / name), model.asked.total()
    for write, when in KILLS:
        run_dir, before = tmp_path / f"{when}{write}" / name, model.asked.total()
        command = [sys.executable, str(CHILD), server.base_url, str(run_dir), str(write), when]
        killed = await trio.run_process(command, check=False, capture_stderr=True)
        assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr.decode()
        await evaluated(server, run_dir, judged=name == "judged")
        # Two at once: what the kill interrupted is asked again, and nothing else.
        assert model.asked.total() - before <= asked + 2
        found = rows(run_dir)
        for row in (*found.values(), *undisturbed.values()):
            row.pop("usage", None), row.pop("judge_usage", None)
        assert found == undisturbed, (when, write)
        with RunBrowser(run_dir) as browser:
            blocks = [block for kept in browser.job("told/2").kept for block in kept.blocks]
        assert [[note.path for note in block.notes] for block in blocks] == [["log.md"]]


async def test_a_judge_grades_replies(tmp_path: Path, serve: Serve) -> None:
    asked = [attrs.evolve(sample, judged=sample.category == "asked") for sample in samples()]
    await evaluated(await serve(Model()), tmp_path / "run", asked, judged=True)
    found = rows(tmp_path / "run")
    wrong = found["told/1"]
    assert (wrong["score"], wrong["reason"], wrong["graded_by"]) == (1, "I say so.", "test")
    assert wrong["match"] == {"score": 0, "reason": "the reply does not say 'London'"}
    assert wrong["judge_usage"]["requests"] == 1
    assert found["told/2"]["graded_by"] == "match"


async def test_a_judge_that_talks_nonsense_decides_nothing(tmp_path: Path, serve: Serve) -> None:
    model, asked = Model(), [attrs.evolve(sample, judged=True) for sample in samples()]

    async def answer(request: ModelRequest) -> Any:
        words = await model(request)
        return "Grapefruit, I suppose." if "You grade answers" in request.body["messages"][0]["content"] else words

    server = await serve(answer)
    report = await evaluated(server, tmp_path / "run", asked, judged=True)
    assert (report.total.samples, report.total.failed, report.total.correct) == (5, 0, 4)
    found = rows(tmp_path / "run")
    judged = [row for row in found.values() if row["kind"] == "sample" and row["judge_usage"]["requests"]]
    assert report.unjudged == len(judged) > 0
    for row in judged:
        assert row["graded_by"] == "match" and row["score"] == row["match"]["score"]
        assert row["judge_problem"].startswith("the judge gave no usable grade: ")
    again = await evaluated(server, tmp_path / "run", asked, judged=True)
    assert (again.unjudged, again.total) == (report.unjudged, report.total)


async def test_samples_of_a_set_up_that_failed_fail_and_are_tried_again(tmp_path: Path, serve: Serve) -> None:
    model, wrong = Model(), True

    async def answer(request: ModelRequest) -> Any:
        if wrong and request.body["messages"][-1]["content"] == TOLD.messages[1]:
            return Fault.status(400, "no")
        return await model(request)

    server = await serve(answer)
    report = await evaluated(server, tmp_path / "run")
    failures = {row["id"]: row["error"]["type"] for row in read_rows(tmp_path / "run" / FAILURES)}
    assert failures.pop("set-up:told") == "ModelStatusError"
    assert failures == dict.fromkeys(["told/0", "told/1", "told/2"], "SetUpFailedError")
    assert (report.total.samples, report.total.failed, report.total.correct) == (5, 3, 2)
    wrong = False
    report = await evaluated(server, tmp_path / "run", config={"retry_failed": True})
    assert (report.total.samples, report.total.failed, report.total.correct) == (5, 0, 4)


async def test_baselines(tmp_path: Path, serve: Serve) -> None:
    seen: list[Any] = []

    async def answer(request: ModelRequest) -> str:
        seen.append(request.body["messages"])
        return "You live in Porto."

    server = await serve(answer)
    asked = [
        Sample(
            id="a",
            category="c",
            set_up=TOLD,
            messages=("Where do I live?",),
            expected="Porto",
            grader=Contains("Porto"),
        )
    ]
    await evaluated(server, tmp_path / "full", asked, baseline="full-context")
    (messages,) = seen
    assert "I live in Porto." in messages[0]["content"]
    assert "# Ada" in messages[0]["content"]
    assert rows(tmp_path / "full")["a"]["score"] == 1
    await evaluated(server, tmp_path / "search", asked, baseline="search-only")
    assert len(seen) == 1
    found = rows(tmp_path / "search")["a"]
    assert (found["score"], found["model"], found["reply"]) == (1, "", "Fact: I live in Porto.")
    total, _ = compare_runs(tmp_path / "full", tmp_path / "search")
    assert (total.samples, total.difference) == (1, 0)


async def test_noise_is_in_every_memory(tmp_path: Path, serve: Serve) -> None:
    asked = [Sample(id="a", category="c", set_up=GIVEN, messages=("Hm?",), expected="", grader=Contains("chess"))]
    report = await evaluated(await serve(Model()), tmp_path / "run", asked, noise=30)
    assert report.total.score == 1
    assert len(list((tmp_path / "run" / "set-ups").rglob("*.md"))) == 31


async def test_a_run_is_pinned(tmp_path: Path, serve: Serve) -> None:
    server = await serve(Model())
    await evaluated(server, tmp_path / "run")
    with pytest.raises(RunChangedError, match=r"noise was 0 and is 3"):
        await evaluated(server, tmp_path / "run", noise=3)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"noise": -1}, "noise: must be 0 or more, not -1"),
        ({"baseline": "best"}, "must be one of agent, full-context, search-only, not 'best'"),
    ],
)
async def test_bad_arguments(tmp_path: Path, serve: Serve, arguments: Any, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        await evaluated(await serve(Model()), tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


async def test_two_set_ups_of_one_id(tmp_path: Path, serve: Serve) -> None:
    asked = samples()
    asked[0] = attrs.evolve(asked[0], set_up=SetUp(id="given/notes"))
    with pytest.raises(InvalidInputError, match="two set-ups have the id 'given/notes'"):
        await evaluated(await serve(Model()), tmp_path / "run", asked)
