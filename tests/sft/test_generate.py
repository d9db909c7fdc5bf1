"""`generate_conversations` with a real sandbox: what is kept, what is not and why, and that nothing is left."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import trioagent
from trioagent import InvalidInputError, JobChangedError, ModelConnectionError, ModelStatusError, Runtime, open_runtime
from trioagent._runs import RunBrowser
from trioagent.batch import JournalReader, Progress, read_rows
from trioagent.server._diff import DiffHunk
from trioagent.server._transcript import ChangeEntry, EndEntry, Said, job_view
from trioagent.sft import (
    FLOWS,
    Fact,
    Flow,
    PersonaChangedError,
    ScriptedPersona,
    SftConfig,
    SftReport,
    generate_conversations,
)
from trioagent.testing import ScriptedModel

from .people import CELLO, LIVES, SISTER, persona, persona_body

pytestmark = pytest.mark.real

FACTS = [LIVES, CELLO, SISTER]
REPLY = "<think>ok</think>\n<python></python>\n<reply>Noted.</reply>"


def writes(text: str) -> str:
    return f"<think>note</think>\n<python>\ncreate_file('user.md', {text!r})\n</python>"


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with open_runtime("offline-rules") as runtime:
        yield runtime


async def generate(runtime: Runtime, where: Path, *, flow: Flow = "introduce", **more: Any) -> SftReport:
    settings = {name: more.pop(name) for name in ("max_retries", "retry_rejected", "num_turns") if name in more}
    given = {
        "personas": [persona()],
        "facts_per_persona": [FACTS],
        "persona_factory": partial(ScriptedPersona, flow=flow),
        "config": SftConfig(flow=flow, **settings),
        **more,
    }
    return await generate_conversations(
        given.pop("personas"),
        given.pop("facts_per_persona"),
        given.pop("persona_factory"),
        runtime=runtime,
        run_dir=where,
        **given,
    )


def rows(where: Path, name: str = "conversations.jsonl") -> list[dict[str, Any]]:
    assert not (where / "memories").exists()
    return [dict(row) for row in read_rows(where / name)]


@pytest.mark.parametrize("flow", FLOWS)
async def test_out_of_the_box(flow: Flow, runtime: Runtime, tmp_path: Path) -> None:
    report = await generate(runtime, tmp_path, flow=flow)
    assert report.results == [True]
    (row,) = rows(tmp_path)
    assert rows(tmp_path, "rejected.jsonl") == []
    assert (row["id"], row["flow"], row["attempts"]) == ("persona-0", flow, 1)
    assert row["persona"] == {**persona_body(), "relationships": row["persona"]["relationships"]}
    assert [fact["fact_description"] for fact in row["facts"]] == [fact.fact_description for fact in FACTS]
    roles = Counter(message["role"] for message in row["messages"])
    assert roles["system"] == 1
    assert roles["user"] == {"introduce": 4, "update": 1, "retrieve": 3}[flow]
    assert roles["assistant"] == roles["user"] + roles["tool"]
    assert all(verdict["passed"] for verdict in row["verdicts"][0])
    assert row["tokens"]["agent"]["prompt_tokens"] > 1000
    assert row["models"] == {"agent": "offline-rules", "persona": "scripted", "judge": None}
    assert row["trioagent"] == trioagent.__version__
    assert len(row["hashes"]["messages"]) == 32
    assert bool(row["memory_before"]) == (flow != "introduce")
    assert bool(row["memory_diff"]) == (flow != "retrieve")
    with JournalReader(tmp_path) as journal:
        spent = journal.spent().total_tokens
    assert spent == report.tokens["agent"] == report.run.tokens


async def test_attempts_until_one_is_accepted(runtime: Runtime, tmp_path: Path) -> None:
    """Each with a fresh memory and a fresh persona model; what was wrong is kept with the row."""
    model = ScriptedModel([REPLY, writes("Lives in Lisbon"), REPLY, writes("Porto"), REPLY])
    async with open_runtime(model) as scripted:
        asked_for = []

        def factory(persona: object, facts: object) -> ScriptedPersona:
            asked_for.append((persona, facts))
            return ScriptedPersona(persona, facts, num_turns=1)

        given, told = persona_body(), [{"fact_description": "I live in Porto."}]
        report = await generate(
            scripted, tmp_path, personas=[given], facts_per_persona=[told], persona_factory=factory, num_turns=1
        )
    assert report.results == [True]
    assert [persona is given and facts is told for persona, facts in asked_for] == [True] * 3
    (row,) = rows(tmp_path)
    failed = [[one["check"] for one in attempt if not one["passed"]] for attempt in row["verdicts"]]
    assert failed == [["notes_changed", "facts_noted"], ["facts_noted"], []]
    assert (row["attempts"], dict(report.personas[0].failed_checks)) == (3, {"notes_changed": 1, "facts_noted": 2})
    assert row["memory_diff"] == {
        "user.md": "--- /dev/null\n+++ b/user.md\n@@ -0,0 +1 @@\n+Porto\n\\ No newline at end of file\n"
    }
    assert all("Lisbon" not in message.content for message in model.calls[-1])
    with RunBrowser(tmp_path) as browser:
        job = job_view(browser.job("persona-0"))
    ends = [entry.reason.partition(":")[0] for entry in job.entries if isinstance(entry, EndEntry)]
    assert ends == ["notes_changed", "facts_noted"]
    changes = [entry.changes for entry in job.entries if isinstance(entry, Said) and entry.role == "tool"]
    made = ChangeEntry(path="user.md", action="made", hunks=[DiffHunk(1, 1, [("+", "Porto")])])
    assert changes == [(), [made]]  # those of the conversation that was accepted


async def test_one_personas_failure_is_false_in_its_place(tmp_path: Path) -> None:
    """A model error, a persona that raises, one that talks nonsense, and good ones beside them."""

    class Persona:
        def __init__(self, persona: dict[str, Any]) -> None:
            self.name_surname = persona["name_surname"]

        async def achat(self, message: str | None = None) -> str:
            if self.name_surname == "Bad Persona":
                raise RuntimeError("the persona broke")
            return f"I am {self.name_surname} and I live in Porto."

    def answer(messages: Any) -> str:
        told = next(message.content for message in messages if message.role == "user")
        if "Bad Model" in told:
            raise ModelConnectionError("http://x", "gone")
        if "Lazy" in told or messages[-1].role == "tool":
            return REPLY
        return writes("Porto")

    names = ["Good One", "Bad Persona", "Bad Model", "Lazy One", "Other Good"]
    async with open_runtime(ScriptedModel(answer)) as runtime:
        seen: list[Progress] = []
        run = partial(
            generate,
            runtime,
            tmp_path,
            personas=[persona_body(name) for name in names],
            facts_per_persona=[["I live in Porto."]] * len(names),
            persona_factory=Persona,
            num_turns=1,
            max_retries=1,
        )
        report = await run(on_progress=seen.append)
        assert report.results == [True, False, False, False, True]
        assert (report.accepted, report.rejected, report.left) == (2, 3, 0)
        assert (seen[-1].done, seen[-1].failed, seen[-1].total) == (2, 3, 5)
        reasons = [person.reason for person in report.personas]
        assert reasons[1] == "ran: RuntimeError: the persona broke"
        assert reasons[2].startswith("ran: ModelConnectionError: no answer from the model")
        assert reasons[3].startswith("notes_changed: the notes are as they were; facts_noted: ")
        rejected = {row["id"]: row for row in rows(tmp_path, "rejected.jsonl")}
        assert {name: row["attempts"] for name, row in rejected.items()} == {f"persona-{i}": 2 for i in (1, 2, 3)}
        assert rejected["persona-3"]["messages"][1]["content"] == "I am Lazy One and I live in Porto."
        assert json.loads((tmp_path / "report.json").read_text())["failed"] == 3
        # Again: all have ended, and nothing is spent.
        again = await run()
        assert (again.results, again.run.tokens, again.run.skipped) == (report.results, 0, 5)


async def test_equal_conversations_have_one_row(runtime: Runtime, tmp_path: Path) -> None:
    people = [persona(), persona("Jon Reyes"), persona()]
    report = await generate(runtime, tmp_path, personas=people, facts_per_persona=[FACTS] * 3)
    assert report.results == [True, True, True]
    assert report.duplicates == 1
    first, second = (report.personas[index].duplicate_of for index in (0, 2))
    assert {first, second} == {"", "persona-0"} or {first, second} == {"", "persona-2"}
    kept = rows(tmp_path)
    assert len(kept) == 2
    assert len({row["hashes"]["messages"] for row in kept}) == 2
    again = await generate(runtime, tmp_path, personas=people, facts_per_persona=[FACTS] * 3)
    assert [person.duplicate_of for person in again.personas] == [person.duplicate_of for person in report.personas]
    assert rows(tmp_path) == kept


ACCEPT = '{"reason": "All noted.", "verdict": "accept"}'
REJECT = '{"reason": "Too curt.", "verdict": "reject"}'


async def test_the_judge_has_the_last_word(runtime: Runtime, tmp_path: Path) -> None:
    judge = ScriptedModel([REJECT, "no JSON", "still none", "none", ACCEPT], name="judge")
    report = await generate(runtime, tmp_path, judge=judge)
    assert report.results == [True]
    (row,) = rows(tmp_path)
    last = [attempt[-1] for attempt in row["verdicts"]]
    assert last[0] == {"check": "judge", "passed": False, "reason": "Too curt."}
    assert last[1]["reason"].startswith("no usable verdict: ")
    assert last[2] == {"check": "judge", "passed": True, "reason": "All noted."}
    assert row["models"]["judge"] == "judge"
    assert row["tokens"]["judge"]["requests"] == 5
    asked = judge.calls[0][-1].content
    for words in ("- I live in Porto.", "User: Hello! My name is Mara Holt.", "Assistant: Noted: ", "+++ b/user.md"):
        assert words in asked


async def test_the_judge_is_not_asked_about_what_the_checks_reject(tmp_path: Path) -> None:
    judge = ScriptedModel([])
    async with open_runtime(ScriptedModel(lambda messages: REPLY)) as runtime:
        report = await generate(runtime, tmp_path, judge=judge, max_retries=0)
    assert (report.results, judge.calls) == ([False], [])


async def test_rejected_ones_again(tmp_path: Path) -> None:
    answers = [REPLY, writes("Porto"), REPLY]
    async with open_runtime(ScriptedModel(answers)) as runtime:
        one = partial(
            generate,
            runtime,
            tmp_path,
            facts_per_persona=[["I live in Porto."]],
            num_turns=1,
            max_retries=0,
            persona_factory=partial(ScriptedPersona, num_turns=1),
        )
        assert (await one()).results == [False]
        assert (await one()).results == [False]
        assert (await one(retry_rejected=True)).results == [True]
    assert len(rows(tmp_path)) == 1
    assert rows(tmp_path, "rejected.jsonl") == []


async def test_a_server_that_refuses_everything_ends_the_run(tmp_path: Path) -> None:
    """No persona is rejected for that, and no attempt counts."""
    refuses = ScriptedModel(lambda messages: (_ for _ in ()).throw(trioagent.ModelRefusedError(401, "bad key")))
    async with open_runtime(refuses) as runtime:
        report = await generate(
            runtime, tmp_path, personas=[persona(), persona("Jon Reyes")], facts_per_persona=[FACTS] * 2
        )
        assert (report.run.stopped, report.left, report.results) == ("refused", 2, [False, False])
    async with open_runtime("offline-rules") as runtime:
        report = await generate(
            runtime, tmp_path, personas=[persona(), persona("Jon Reyes")], facts_per_persona=[FACTS] * 2
        )
        assert report.results == [True, True]
        assert [row["attempts"] for row in rows(tmp_path)] == [1, 1]


async def test_a_refusal_of_one_request_is_not_tried_again(tmp_path: Path) -> None:
    model = ScriptedModel([ModelStatusError(400, "too long")])
    async with open_runtime(model) as runtime:
        report = await generate(runtime, tmp_path)
    assert report.results == [False]
    assert report.personas[0].reason == "ModelStatusError: the model's server answered with status 400: too long"
    assert len(model.calls) == 1


async def test_a_budget(runtime: Runtime, tmp_path: Path) -> None:
    people, facts = [persona(), persona("Jon Reyes")], [FACTS] * 2
    config = SftConfig(max_tokens_total=12_000, max_concurrent=1)
    report = await generate(runtime, tmp_path, personas=people, facts_per_persona=facts, config=config)
    assert report.run.stopped == "budget"
    assert 0 < report.run.tokens_total <= 12_000
    report = await generate(runtime, tmp_path, personas=people, facts_per_persona=facts)
    assert report.results == [True, True]


async def test_stop(runtime: Runtime, tmp_path: Path) -> None:
    """The running attempt ends; the rest is resumed later."""
    stop = trio.Event()

    class Stopper(ScriptedPersona):
        async def achat(self, message: str | None = None) -> str:
            stop.set()
            return await super().achat(message)

    config = SftConfig(max_concurrent=1)
    people, facts = [persona(), persona("Jon Reyes")], [FACTS] * 2
    report = await generate(
        runtime, tmp_path, personas=people, facts_per_persona=facts, persona_factory=Stopper, stop=stop, config=config
    )
    assert (report.results, report.run.stopped, report.left) == ([True, False], "asked", 1)
    report = await generate(runtime, tmp_path, personas=people, facts_per_persona=facts, config=config)
    assert report.results == [True, True]
    assert [row["id"] for row in rows(tmp_path)] == ["persona-0", "persona-1"]


async def test_a_deadline(runtime: Runtime, tmp_path: Path) -> None:
    """Of a persona that does not come to the point; the others have what they need."""

    class Thinker(ScriptedPersona):
        async def achat(self, message: str | None = None) -> str:
            await trio.sleep_forever()
            raise AssertionError

    def factory(persona: dict[str, Any], facts: object) -> ScriptedPersona:
        return (Thinker if persona["name_surname"] == "Jon Reyes" else ScriptedPersona)(persona, facts)

    people = [persona_body(), persona_body("Jon Reyes")]
    config = SftConfig(deadline=3, max_retries=0)
    report = await generate(
        runtime, tmp_path, personas=people, facts_per_persona=[FACTS] * 2, persona_factory=factory, config=config
    )
    assert report.results == [True, False]
    assert report.personas[1].reason == "DeadlineExceededError: the job did not end within its 3 s of working time"
    rows(tmp_path)


def raises(persona: object) -> object:
    raise KeyError("no such voice")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"personas": []}, "facts_per_persona: 0 personas need as many lists of facts, not 1"),
        ({"personas": [], "facts_per_persona": []}, "personas: is empty"),
        ({"personas": None}, "personas: must be a list, not None"),
        ({"facts_per_persona": "I fish."}, "facts_per_persona: must be a list, not 'I fish.'"),
        (
            {"personas": [{**persona_body(), "agee": 3}]},
            "personas[0]: has the unknown field 'agee'; did you mean 'age'?",
        ),
        ({"facts_per_persona": [[]]}, "facts_per_persona[0]: is empty; a conversation needs at least one fact"),
        ({"facts_per_persona": [["a", ""]]}, "facts_per_persona[0][1]: must be a text"),
        ({"facts_per_persona": [["a", "b\0"]]}, "facts_per_persona[0][1]: holds a character that no file can (NUL, or"),
        ({"facts_per_persona": [["a", "b\ud800"]]}, "facts_per_persona[0][1]: holds a character that no file can"),
        ({"facts_per_persona": [["a", "..."]]}, "facts_per_persona[0][1].fact_description: has no word to recognise"),
        (
            {"facts_per_persona": [[Fact(fact_description="I fish.", answer="?!")]]},
            "facts_per_persona[0][0].answer: has no word to recognise it by: '?!'",
        ),
        ({"flow": "update", "facts_per_persona": [["I fish."]]}, "facts_per_persona[0]: has no fact that changes"),
        (
            {"flow": "update", "facts_per_persona": [[Fact(fact_description="I fish.", previous="I fish. ")]]},
            "facts_per_persona[0][0].previous: is the same as the fact",
        ),
        ({"persona_factory": "x"}, "persona_factory: must be a function, not 'x'"),
        (
            {"persona_factory": raises},
            "persona_factory: raised for persona-0: KeyError: 'no such voice'; nothing was spent",
        ),
        (
            {"persona_factory": lambda persona: 3},
            "persona_factory: for persona-0: must give an object",
        ),
    ],
)
async def test_bad_input_is_found_before_anything_is_spent(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    model = ScriptedModel([])
    async with open_runtime(model) as runtime:
        with pytest.raises(InvalidInputError) as caught:
            await generate(runtime, tmp_path / "run", **change)
    assert str(caught.value).startswith(words)
    assert model.calls == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "settings", [{"num_turns": 0}, {"flow": "chat"}, {"max_retries": -1}, {"max_concurrent": 0}, {"num_turns": 1.5}]
)
def test_bad_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=f"SftConfig.{next(iter(settings))}"):
        SftConfig(**settings)


async def test_a_changed_persona_is_refused(runtime: Runtime, tmp_path: Path) -> None:
    await generate(runtime, tmp_path)
    for change in ({"personas": [persona(age=35)]}, {"facts_per_persona": [[LIVES]]}, {"flow": "update"}):
        with pytest.raises(PersonaChangedError, match="'persona-0' has changed .* the flow") as caught:
            await generate(runtime, tmp_path, **change)
        assert isinstance(caught.value, JobChangedError)
