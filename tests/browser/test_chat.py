"""A chat in a real browser: what an agent thinks, runs and changes, live; review, cancel, undo, a lost connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.server.serving import code, make_memories, reply
from trioagent._messages import ChatMessage
from trioagent.testing import ScriptedModel

from .chromium import Browser
from .page_server import page_server

pytestmark = [pytest.mark.real, pytest.mark.browser]


def answer(messages: Sequence[ChatMessage]) -> str:
    """What the user asks for: it writes, fails, or thinks forever."""
    last = messages[-1].content
    if last.startswith("<result>"):
        return reply("Noted, [[user]] and <b>all</b>.")
    if last == "fail":
        return code("raise ValueError('this went wrong')")
    if last == "loop":
        return code("while True:\n    pass")
    return code(f"# what was said\nold = read_file('user.md')\nupdate_file('user.md', 'Oslo', {last!r})")


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    make_memories(tmp_path, {"ada": {"user.md": "# Ada\n\nOslo\n"}})
    return tmp_path / "ada"


@pytest.fixture
def chat(browser: Browser, memory: Path) -> Iterator[Browser]:
    """The browser in a chat with a scripted model."""
    with page_server(memory.parent, model=ScriptedModel(answer)) as link:
        browser.open(link, "#/chat/ada")
        browser.one("textarea")
        yield browser
        browser.leave()


def note(memory: Path) -> str:
    return (memory / "user.md").read_text()


def test_an_answer_is_shown_with_its_code_its_result_and_what_it_changed(chat: Browser, memory: Path) -> None:
    chat.say("Berlin")
    chat.one(".reply", "Noted, [[user]] and <b>all</b>.")
    assert chat.texts(".said") == ["Berlin"]
    assert chat.texts(".block .comment") == ["# what was said"]
    assert chat.texts(".block .call") == ["read_file", "update_file"]
    assert chat.texts(".diff .added .text") == ["Berlin"]
    assert chat.texts(".diff .removed .text") == ["Oslo"]
    chat.one(".result summary", "Ran, and changed notes").click()
    chat.one(".locals dt", "old")
    thoughts = chat.one(".thoughts summary")
    assert not chat.one("details.thoughts").get_attribute("open")
    thoughts.click()
    chat.one(".thought", "I will run code.")
    chat.one(".facts-line", "2 turns")
    assert "Berlin" in note(memory)


def test_a_failed_block_is_shown_open(chat: Browser) -> None:
    chat.say("fail")
    chat.one(".result.failed summary", "nothing was saved")
    chat.one(".output.error", "this went wrong")


def test_a_message_is_taken_back_with_what_it_changed(chat: Browser, memory: Path) -> None:
    chat.say("Berlin")
    chat.one(".reply", "Noted")
    chat.wait(lambda: chat.one("[aria-label='Take the last message back']").is_enabled())
    chat.one("[aria-label='Take the last message back']").click()
    chat.one(".outcome", "Taken back, and 1 note with it: user.md")
    assert "Oslo" in note(memory)


def test_a_running_block_is_cancelled(chat: Browser, memory: Path) -> None:
    chat.say("loop")
    chat.one(".block code", "while")
    chat.one("[aria-label=Cancel]").click()
    chat.one(".outcome.cancelled", "Cancelled")
    chat.one("[aria-label=Send]")
    assert "Oslo" in note(memory)


def test_changes_wait_for_a_review(chat: Browser, memory: Path) -> None:
    chat.one("#review").click()
    chat.say("Berlin")
    chat.one(".review .added", "Berlin")
    assert "Oslo" in note(memory)
    chat.one(".review button", "Reject").click()
    chat.one(".review", "Rejected")
    chat.one(".reply", "Noted")
    assert "Oslo" in note(memory)
    chat.say("Rome")
    chat.one(".turn:last-child .review button", "Save").click()
    chat.one(".turn:last-child .reply", "Noted")
    assert "Rome" in note(memory)


def test_a_reloaded_page_begins_anew_and_the_notes_stay(chat: Browser, memory: Path) -> None:
    chat.say("Berlin")
    chat.one(".reply", "Noted")
    chat.driver.refresh()
    chat.one(".notice", "Talk to the agent of ada")
    chat.go("#/memory/ada/notes/user.md")
    chat.one("article", "Berlin")


def test_a_lost_connection_is_made_again_and_nothing_is_missed(chat: Browser) -> None:
    chat.say("Berlin")
    chat.one(".reply", "Noted")
    chat.driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    chat.driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    chat.driver.execute_script("return 1")
    online = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    chat.driver.execute_cdp_cmd("Network.emulateNetworkConditions", online)
    chat.say("Rome")
    chat.wait(lambda: len(chat.texts(".turn")) == 2 and chat.texts(".turn:last-child .reply"))


def test_without_a_model_it_is_said(browser: Browser, memory: Path) -> None:
    with page_server(memory.parent) as link:
        browser.open(link, "#/chat/ada")
        browser.one("[role=status]", "the server has no model")
        browser.leave()
