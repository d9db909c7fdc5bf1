"""What there is to be seen on each view: memories with a history, a chat, and a run that was made by a real batch."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import trio

from tests.runs.support import DONE, answer, result
from tests.runs.test_series import at
from trioagent._messages import ChatMessage
from trioagent._runs._journal import open_journal
from trioagent._runs._report import StatusFile
from trioagent._runs._spending import Spending
from trioagent.memory import ChangeSet, CommitOrigin, Memory
from trioagent.testing import ScriptedModel

from .chromium import Browser
from .page_server import page_server

PEOPLE = "ada grace linus margaret barbara alan edsger donald tim radia hedy katherine".split()
PLACES = "Lisbon Berlin Kyoto Oslo Porto".split()
FIRMS = ("Northwind Traders", "Contoso", "Fabrikam", "Tailspin Toys")
USER = """---
name: Robin
tags: [owner, lisbon]
---
# Robin

Lives in [[Lisbon]] since 2024; before that in [[Berlin]]. Allergic to **peanuts**.

## Family

- sister: [[ada|Ada]], works at [[Northwind Traders]]
- partner: [[grace|Grace]] (see [[grace#Diet]])
- cousin: [[Jules]]

## Preferences

| topic | choice | since |
|---|---|--:|
| coffee | flat white, oat milk | 2023 |
| music | fado | 2024 |
| code | `python`, sometimes `rust` | 2016 |

> Never book a flight before nine.

```python
def remember(fact: str) -> None:
    # one fact, one line
    update_file("user.md", "## Preferences", f"## Preferences\\n\\n- {fact}")
```
"""
CODE = """\
# Robin has moved: the new city, and where it was before
user = read_file("user.md")
update_file("user.md", "## Family", "Moved to [[Porto]] today, from [[Lisbon]].\\n\\n## Family")
print(len(user.splitlines()), "lines")"""
NOW_IN_PORTO = "Moved to [[Porto]] today, from [[Lisbon]]."
MOVED = {
    **DONE,
    "messages": [
        {"role": "user", "content": "I have moved to Porto."},
        {
            "role": "assistant",
            "content": f"<think>Robin lived in Lisbon.</think>\n<python>\n{CODE}\n</python>",
        },
        {"role": "tool", "content": "<result>\n({'user': '---\\nname: Robin…'}, '')\nprinted: 32 lines\n</result>"},
        {
            "role": "assistant",
            "content": "<think>Done.</think>\n<python></python>\n<reply>Noted: you live in Porto now.</reply>",
        },
    ],
}


@attrs.frozen
class Scene:
    """One view as a picture shows it: how to get there from the page's beginning."""

    name: str
    show: Callable[[Browser], None]


def _note(browser: Browser) -> None:
    browser.go("#/memory/robin/notes/user.md")
    browser.one("article table")


def _search(browser: Browser) -> None:
    _note(browser)
    browser.press("/")
    browser.press("l", "i", "s", "b", "o", "n")
    browser.one(".hit .line")


def _graph(browser: Browser) -> None:
    browser.go("#/memory/robin/graph")
    browser.one("canvas")
    browser.driver.execute_async_script("setTimeout(arguments[0], 1500)")  # until it has settled


def _history(browser: Browser) -> None:
    browser.go("#/memory/robin/history")
    browser.one(".detail .added")


def _chat(browser: Browser) -> None:
    browser.go("#/chat/robin")
    browser.say("I have moved to Porto!")
    browser.one(".facts-line")
    browser.one(".diff")


def _review(browser: Browser) -> None:
    browser.go("#/chat/robin")
    browser.one("#review").click()
    browser.say("I have moved to Porto!")
    browser.one(".review .diff")


def _run(browser: Browser) -> None:
    browser.go("#/run/july")
    browser.one("[role=option] .id")
    browser.one(".cause")
    browser.wait(lambda: len(browser.all(".uplot canvas")) == 5)


def _job(browser: Browser) -> None:
    browser.go("#/run/july/jobs/job-00004")
    browser.one("[role=option] .id")
    change = browser.one(".job .change")
    browser.driver.execute_script("arguments[0].scrollIntoView({ block: 'end' })", change)


def _evaluation(browser: Browser) -> None:
    browser.go("#/run/eval-rules")
    browser.one(".chart .all")
    browser.choose("#compared", "eval-search")
    browser.wait(lambda: len(browser.all(".chart .point")) == 10)
    browser.one("[role=option] .id")


def _wrong(browser: Browser) -> None:
    browser.go("#/run/eval-rules")
    browser.one(".segments button", "Wrong").click()
    browser.one(".jobs .summary", "31 jobs")
    browser.one("[role=option]", "update-00").click()
    browser.one(".grade-box .diff")


def _start(browser: Browser) -> None:
    browser.go("#/")
    browser.one(".card")


def _empty(browser: Browser) -> None:
    browser.go("#/memory/new")
    browser.one(".notice")


SCENES: Sequence[Scene] = (
    Scene("note", _note),
    Scene("search", _search),
    Scene("graph", _graph),
    Scene("history", _history),
    Scene("chat", _chat),
    Scene("review", _review),
    Scene("run", _run),
    Scene("job", _job),
    Scene("evaluation", _evaluation),
    Scene("wrong", _wrong),
    Scene("start", _start),
    Scene("empty", _empty),
)


def _answer(messages: Sequence[ChatMessage]) -> str:
    if not messages[-1].content.startswith("<result>"):
        thoughts = "Robin lived in Lisbon so far. The note on Robin says so in its first line, which has to change."
        return f"<think>{thoughts}</think>\n<python>\n{CODE}\n</python>"
    words = "Porto it is! I have noted that you live there now, and that Lisbon came before."
    return f"<think>The note is changed.</think>\n<python></python>\n<reply>{words}</reply>"


@contextmanager
def serve_scenes(folder: Path) -> Iterator[str]:
    """Serve what the scenes show, made in *folder*; gives the link."""
    (folder / "memories" / "new").mkdir(parents=True)
    trio.run(_make_memory, folder / "memories" / "robin")
    trio.run(_make_run, folder / "runs" / "july")
    trio.run(make_evaluation, folder / "runs" / "eval-rules", "agent", 0.55)
    trio.run(make_evaluation, folder / "runs" / "eval-search", "search-only", 0.35)
    with page_server(folder / "memories", runs=folder / "runs", model=ScriptedModel(_answer, name="scripted")) as link:
        yield link


async def _make_memory(path: Path) -> None:
    chance = random.Random(3)
    notes = {"user.md": USER}
    for name in PEOPLE:
        known = ", ".join(f"[[{other}]]" for other in chance.sample(PEOPLE, 3) if other != name)
        text = f"# {name.title()}\n\nLives in [[{chance.choice(PLACES)}]], works at [[{chance.choice(FIRMS)}]]."
        notes[f"entities/people/{name}.md"] = f"{text}\n\nKnows {known}.\n\n## Diet\n\nNo gluten.\n"
    for name in PLACES:
        notes[f"entities/places/{name}.md"] = f"# {name}\n\nVisited with [[{chance.choice(PEOPLE)}]].\n"
    for name in FIRMS:
        notes[f"entities/work/{name}.md"] = f"# {name}\n\nFounded in {chance.choice(PLACES)}.\n"
    for day in range(1, 13):
        text = f"# Day {day}\n\nMet [[{chance.choice(PEOPLE)}]] in [[{chance.choice(PLACES)}]].\n"
        notes[f"journal/2026-11-{day:02}.md"] = text
    grace = notes["entities/people/grace.md"]
    steps = [
        ("My sister Ada works at Northwind.", {"entities/people/ada.md": notes["entities/people/ada.md"]}),
        (
            "I met Grace in Lisbon.",
            {"entities/people/grace.md": f"{grace}\nMet in Lisbon.\n"},
        ),
        ("I drink flat white now.", {"user.md": USER}),
    ]
    memory = Memory(path, history=True)
    before = {
        **notes,
        "user.md": USER.replace("| coffee | flat white, oat milk | 2023 |", "| coffee | espresso | 2019 |"),
    }
    before["entities/people/ada.md"] = "# Ada\n\nSister of [[user]].\n"
    for said, changes in [("", before), *steps]:
        async with memory.lease() as lease:
            writes = {path: text.encode() for path, text in changes.items()}
            await lease.commit(ChangeSet(writes=writes), origin=CommitOrigin(author="offline-rules", said=said, turn=1))


async def make_evaluation(run_dir: Path, baseline: str, easy: float) -> None:
    """An evaluation whose samples were graded: a journal, and the rows beside it."""
    chance = random.Random(5)
    rows = []
    async with open_journal(run_dir, "evaluation samples") as journal:
        for category, ease in (("retrieval", 0.3), ("update", 0.0), ("clarification", -0.2), ("filter", -0.3)):
            for number in range(15):
                right = chance.random() < easy + ease
                key = f"{category}-{number:02}"
                row = {
                    **DONE,
                    "kind": "sample",
                    "suite": "md-memory",
                    "baseline": baseline,
                    "model": "" if baseline == "search-only" else "offline-rules",
                    "category": category,
                    "score": float(right),
                    "reason": "the reply says 'Porto'" if right else "the reply does not say 'Porto'",
                    "graded_by": "match",
                    "expected": "Porto",
                    "reply": "You live in Porto." if right else "I do not know where you live.",
                    "turns": 2,
                    "blocks": 1,
                    "repairs": {},
                    "cuts": 0,
                    "seconds": 1.5,
                    "notes_before": {"user.md": USER},
                    "notes_after": {"user.md": USER.replace("[[Lisbon]] since", "[[Porto]] since")},
                }
                await journal.begin(key, "digest")
                await journal.finish(key, "done", row, Spending(900, 60, 0.0))
                rows.append({"id": key, "attempts": 1, **row})
    (run_dir / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status = StatusFile(run_dir, "offline-rules")
    status.write(at(30.0, total=60, done=60, tokens_total=57_600), ended=True)
    (run_dir / "report.json").write_text(json.dumps({"stopped": ""}))


async def _make_run(run_dir: Path) -> None:
    """A journal and what a run writes beside it: four fifths done, some failed, the rest to resume."""
    errors = [
        ("ModelStatusError", "the server answered 429: rate limit reached for this key", {"status": 429}),
        ("DeadlineExceededError", "the job used up its 120 s of working time", {"seconds": 120.0}),
        ("ModelProtocolError", "the answer ended in the middle of a chunk", {}),
    ]
    async with open_journal(run_dir) as journal:
        for number in range(60):
            key = f"job-{number:05}"
            record = await journal.begin(key, "digest")
            if number % 10 == 3:
                kind, message, fields = errors[number // 10 % 3]
                await journal.add_event(record, 0, answer(CODE))
                old, new = USER.encode(), USER.replace("[[Lisbon]] since", "[[Porto]] since").encode()
                await journal.add_event(record, 1, result({"user.md": (old, new)}))
                await journal.add_event(record, 2, answer("delete_file('journal/2026-11-01.md')"))
                await journal.add_event(record, 3, result({"user.md": (new, None)}))
                error = {"type": kind, "message": message, "fields": fields}
                await journal.finish(key, "failed", {"error": error, "last_response": "", "metadata": {"row": number}})
            elif number == 4:  # done in its second attempt
                await journal.finish(key, "failed", {"error": {"type": errors[2][0], "message": errors[2][1]}})
                record = await journal.begin(key, "digest")
                old, new = USER.encode(), USER.replace("## Family", f"{NOW_IN_PORTO}\n\n## Family", 1).encode()
                record.changes.add(0, result({"user.md": (old, new)}), {"user.md": new})
                await journal.finish(key, "done", MOVED, Spending(1100, 90, 0.004), changes=record.changes)
            elif number < 55:
                spent = Spending(1100 + number, 90, 0.004)
                await journal.finish(key, "done", DONE, spent, no_reply=number % 25 == 7)
    status = StatusFile(run_dir, "vllm:a-model")
    for second in range(120):
        ended = int(55 * second / 119)
        progress = at(
            float(second),
            total=80,
            done=ended - (ended + 5) // 10,
            failed=(ended + 5) // 10,
            running=8,
            states={"held": 3} if 50 < second < 62 else {},
            tokens_total=1084 * ended,
            cost_total=0.196 * ended / 55,
        )
        status.write(progress, ended=second == 119)
    (run_dir / "report.json").write_text(json.dumps({"stopped": "asked"}))
