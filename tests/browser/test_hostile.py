"""Hostile texts in notes, names, replies, errors and jobs, in a real browser: they are shown, and nothing more."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import trio

from tests.runs.support import DONE, answer, result
from tests.server.serving import code, reply
from trioagent._messages import ChatMessage
from trioagent._runs._journal import open_journal
from trioagent.memory import ChangeSet, CommitOrigin, Memory
from trioagent.testing import ScriptedModel

from .chromium import Browser
from .page_server import page_server
from .payloads import PAYLOADS, as_name

pytestmark = [pytest.mark.real, pytest.mark.browser]

# What the page itself makes. Whatever else is there was made of a text.
_TAGS = (
    "DIV SPAN P A H1 H2 H3 H4 H5 H6 UL OL LI DL DT DD BLOCKQUOTE PRE CODE EM STRONG S HR BR TABLE THEAD TBODY TR TH TD "
    "MARK ARTICLE SECTION ASIDE HEADER NAV MAIN FIGURE FIGCAPTION DETAILS SUMMARY BUTTON INPUT TEXTAREA LABEL SELECT "
    "OPTION KBD CANVAS DIALOG FORM CAPTION svg path line"
)
_STRANGE = """
const allowed = new Set(arguments[0].split(" "));
const loading = /^(on|src|action|formaction|ping|data|poster|background)/;
const strange = [];
for (const each of document.querySelectorAll("main, main *, header *")) {
  if (!allowed.has(each.tagName)) strange.push(each.tagName);
  if (each.tagName === "FORM" && each.method !== "dialog") strange.push("form");
  for (const { name, value } of each.attributes) {
    if (loading.test(name) && !name.startsWith("data-")) strange.push(name);
    if (name === "href" && !value.startsWith("#")) strange.push(`href=${value}`);
  }
}
if (window.hit !== undefined) strange.push("window.hit");
if (document.querySelector("base, iframe, object, embed, link[rel=stylesheet]")) strange.push("elements");
return strange;
"""


def assert_inert(browser: Browser, link: str, shown: str = "") -> None:
    """Nothing was made of a text but text, nothing ran, and nobody else was asked for anything."""
    assert browser.driver.execute_script(_STRANGE, _TAGS) == [], shown
    here = urlsplit(link).netloc
    for url in browser.requests():
        assert urlsplit(url).netloc == here, url
    assert browser.complaints() == []
    assert urlsplit(browser.driver.current_url).netloc == here


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A note of each payload's name with the payload as its text, front matter and links; and a history of them."""
    folder = tmp_path_factory.mktemp("memories") / "hostile"
    folder.mkdir()
    names = [f"{number:03} {as_name(payload)}" for number, payload in enumerate(PAYLOADS)]
    for name, payload in zip(names, PAYLOADS, strict=True):
        (folder / f"{name}.md").write_text(f"---\nname: {payload}\n---\n{payload}\n\n[[{name}]]\n", encoding="utf-8")
    (folder / "index.md").write_text("".join(f"- [[{name}]]\n" for name in names), encoding="utf-8")
    trio.run(keep_history, folder)
    return folder


async def keep_history(folder: Path) -> None:
    memory = Memory(folder, history=True)
    for number, payload in enumerate(PAYLOADS[:20]):
        async with memory.lease() as lease:
            origin = CommitOrigin(author=payload, said=payload, job=payload)
            await lease.commit(ChangeSet(writes={"changed.md": f"{number} {payload}".encode()}), origin=origin)


@pytest.fixture
def link(memory: Path) -> Iterator[str]:
    with page_server(memory.parent) as link:
        yield link


def test_there_are_a_hundred_payloads() -> None:
    assert len(set(PAYLOADS)) >= 100


def test_notes_and_their_names(browser: Browser, link: str) -> None:
    browser.open(link, "#/memory/hostile/notes/index.md")
    browser.wait(lambda: len(browser.all("article a, article .missing")) > 50)  # some names end a link
    assert_inert(browser, link)
    paths = [f"{number:03} {as_name(payload)}.md" for number, payload in enumerate(PAYLOADS)]
    for path in paths:
        browser.go(f"#/memory/hostile/notes/{quote(path, safe='')}")
        browser.wait(partial(is_shown, browser, path), path)
        assert_inert(browser, link, path)


def is_shown(browser: Browser, path: str) -> bool:
    script = "return document.querySelector('article')?.getAttribute('aria-label')"
    return bool(browser.driver.execute_script(script) == path)


def test_every_payload_is_shown_as_its_text(browser: Browser, link: str) -> None:
    """Inert because it is shown, not because it was dropped."""
    browser.open(link)
    for number in (0, 12, 45, 72):
        path = f"{number:03} {as_name(PAYLOADS[number])}.md"
        browser.go(f"#/memory/hostile/notes/{quote(path, safe='')}")
        browser.wait(partial(is_shown, browser, path), path)
        assert PAYLOADS[number] in browser.texts(".source pre")[0]
        assert PAYLOADS[number] in browser.texts("article")[0]


def test_graph_search_and_history(browser: Browser, link: str) -> None:
    browser.open(link, "#/memory/hostile/graph")
    browser.one(".graph-bar", "notes")
    assert_inert(browser, link)
    browser.go("#/memory/hostile/history")
    browser.wait(lambda: len(browser.all(".revision")) == 21)
    for button in browser.all(".revision")[:20:5]:
        button.click()
        browser.one(".detail h2")
        assert_inert(browser, link)
    browser.press("/")
    browser.press("s", "c", "r", "i", "p", "t")
    browser.one(".hit .line")
    assert_inert(browser, link)


def test_replies_thoughts_code_and_errors(browser: Browser, tmp_path: Path) -> None:
    everything = "\n".join(PAYLOADS).replace("<reply>", "").replace("</reply>", "").replace("</python>", "")

    def speak(messages: Sequence[ChatMessage]) -> str:
        last = messages[-1].content
        if last == "fail":
            return code(f"raise ValueError({everything!r})")
        if last.startswith("<result>"):
            return reply(everything)
        return f"<think>{everything}</think>\n<python>\nx = {everything!r}\ncreate_file('x.md', x)\nprint(x)\n</python>"

    (tmp_path / "ada").mkdir()
    with page_server(tmp_path, model=ScriptedModel(speak, chunk=200)) as link:
        browser.open(link, "#/chat/ada")
        for number, text in enumerate((everything.replace("\n", " "), "fail"), 1):
            browser.say(text)
            browser.wait(lambda number=number: len(browser.all(".facts-line")) == number)  # type: ignore[misc]
            assert_inert(browser, link)
        assert PAYLOADS[12] in browser.texts(".reply")[0]
        browser.leave()


def test_jobs_causes_and_transcripts(browser: Browser, tmp_path: Path) -> None:
    trio.run(journal_payloads, tmp_path / "run")
    with page_server(None, runs=tmp_path / "run") as link:
        browser.open(link)
        browser.wait(lambda: len(browser.all(".cause")) >= 100)
        assert_inert(browser, link)
        for row in range(0, len(PAYLOADS), 4):
            browser.go(f"#/run/run/jobs/{quote(PAYLOADS[row], safe='/')}")
            browser.wait(lambda row=row: browser.texts(".job h2") == [PAYLOADS[row]])  # type: ignore[misc]
            assert_inert(browser, link, PAYLOADS[row])
        browser.leave()


async def journal_payloads(run_dir: Path) -> None:
    """A failed job for each payload: its id, its error, what it said, ran and changed."""
    async with open_journal(run_dir) as journal:
        for payload in PAYLOADS:
            record = await journal.begin(payload, "digest")
            await journal.add_event(record, 0, answer(payload))
            path = f"{as_name(payload)}.md"
            await journal.add_event(record, 1, result({path: (payload.encode(), None)}))
            error = {"type": payload, "message": payload, "fields": {"status": payload}, "traceback": payload}
            outcome = {"error": error, "last_response": payload, "metadata": {payload: payload}}
            await journal.finish(payload, "failed", outcome)


def test_transcripts_of_jobs_that_are_done(browser: Browser, tmp_path: Path) -> None:
    trio.run(journal_done_payloads, tmp_path / "run")
    with page_server(None, runs=tmp_path / "run") as link:
        browser.open(link)
        for row in range(1, len(PAYLOADS), 4):
            browser.go(f"#/run/run/jobs/{quote(PAYLOADS[row], safe='/')}")
            browser.wait(lambda row=row: browser.texts(".job h2") == [PAYLOADS[row]])  # type: ignore[misc]
            assert PAYLOADS[row].split()[0] in browser.texts(".wait span")[0]
            assert len(browser.all(".job .change .diff")) == 2
            assert_inert(browser, link, PAYLOADS[row])
        browser.leave()


async def journal_done_payloads(run_dir: Path) -> None:
    """For each payload a job that failed and was begun again: what was said, why it failed, what its blocks changed."""
    async with open_journal(run_dir) as journal:
        for payload in PAYLOADS:
            path, old, new = f"{as_name(payload)}.md", payload.encode(), f"{payload}\n{payload}".encode()
            record = await journal.begin(payload, "digest")
            await journal.add_event(record, 0, answer(payload))
            await journal.add_event(record, 1, result({path: (old, None)}))
            await journal.finish(payload, "failed", {"error": {"type": payload, "message": payload}})
            record = await journal.begin(payload, "digest")
            record.changes.add(0, result({path: (old, new)}), {path: new})
            said = [("user", payload), ("assistant", f"<python>\n{payload}\n</python>"), ("tool", payload)]
            messages = [{"role": role, "content": content} for role, content in said]
            await journal.finish(payload, "done", {"messages": messages}, changes=record.changes)


def test_grades_and_waits(browser: Browser, tmp_path: Path) -> None:
    """An evaluation whose categories, replies, reasons, notes and errors are payloads."""
    trio.run(grade_payloads, tmp_path / "runs" / "one")
    trio.run(grade_payloads, tmp_path / "runs" / "two")
    with page_server(None, runs=tmp_path / "runs") as link:
        browser.open(link, "#/run/one")
        browser.wait(lambda: len(browser.all(".chart tbody tr")) == len(PAYLOADS) + 1)
        assert_inert(browser, link)
        browser.choose("#compared", "two")
        browser.wait(lambda: len(browser.all(".chart tbody tr")) == 2 * len(PAYLOADS) + 2)
        assert_inert(browser, link)
        for row in range(0, len(PAYLOADS), 10):
            browser.go(f"#/run/one/jobs/{quote(PAYLOADS[row], safe='/')}")
            browser.wait(lambda row=row: browser.texts(".job h2") == [PAYLOADS[row]])  # type: ignore[misc]
            assert PAYLOADS[row] in browser.texts(".grade-box p")[0]
            assert PAYLOADS[row] in browser.texts(".wait span")[0]
            assert_inert(browser, link, PAYLOADS[row])
        browser.leave()


async def grade_payloads(run_dir: Path) -> None:
    rows = []
    async with open_journal(run_dir, "evaluation samples") as journal:
        for payload in PAYLOADS:
            row = {
                **DONE,
                **dict.fromkeys(("suite", "model", "baseline"), PAYLOADS[0]),
                **dict.fromkeys(("category", "reason", "graded_by", "expected", "reply"), payload),
                "kind": "sample",
                "score": 0.0,
                "blocks": 1,
                "repairs": {},
                "cuts": 0,
                "seconds": 1.0,
                "notes_before": {payload: payload},
                "notes_after": {payload: f"{payload} changed"},
            }
            await journal.begin(payload, "digest")
            journal.waits.note(payload, "held", 1.0, payload)
            await journal.finish(payload, "done", row)
            rows.append({"id": payload, "attempts": 1, **row})
    (run_dir / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_an_answer_of_the_server_cannot_become_markup(browser: Browser, link: str) -> None:
    """The browser itself refuses: there is no policy under which a text may become markup or code."""
    browser.open(link)
    for script in (
        "document.body.innerHTML = '<b>x</b>'",
        "document.write('<b>x</b>')",
        "document.createElement('script').text = 'window.hit = 1'",
        "document.createElement('iframe').srcdoc = '<b>x</b>'",
        "document.createElement('div').insertAdjacentHTML('beforeend', '<b>x</b>')",
        "new DOMParser().parseFromString('<b>x</b>', 'text/html')",
    ):
        refused = browser.driver.execute_script("try { " + script + "; return '' } catch (error) { return error.name }")
        assert refused == "TypeError", script
    assert browser.driver.execute_script("return window.hit === undefined")
    browser.complaints()  # the browser says what it has refused
    assert browser.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "fetch('https://evil.example/x').then(() => done('sent'), () => done('refused'))"
    ) == "refused"  # fmt: skip
    assert all("evil.example" not in url for url in browser.requests())
    browser.complaints()


def test_a_damaged_journal_is_said(browser: Browser, tmp_path: Path) -> None:
    trio.run(journal_payloads, tmp_path / "run")
    connection = sqlite3.connect(tmp_path / "run" / "journal.db")
    with connection:
        connection.execute("UPDATE jobs SET outcome = '<script>window.hit=1</script>'")
    connection.close()
    with page_server(None, runs=tmp_path / "run") as link:
        browser.open(link)
        browser.one(".jobs .summary", "jobs")
        browser.all("[role=option]")[0].click()
        browser.one(".job [role=alert]", "cannot be read back")
        assert all("500" in complaint for complaint in browser.complaints())
        assert browser.driver.execute_script(_STRANGE, _TAGS) == []
        browser.leave()
