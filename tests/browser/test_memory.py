"""A memory in a real browser: tree, notes, links, search, graph, history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.server.serving import make_memories
from trioagent.memory import ChangeSet, CommitOrigin, Memory

from .chromium import Browser
from .page_server import page_server

pytestmark = [pytest.mark.real, pytest.mark.browser]

NOTES = {
    "user.md": (
        "---\ntags: [owner]\n---\n# Robin\n\nSister: [[ada|Ada]], see [[ada#Work]]; cousin: [[nobody]].\n\n"
        "More at [the wiki](https://example.org/x).\n"
    ),
    "entities/ada.md": "# Ada\n\nLives in [[Lisbon]].\n\n## Work\n\n- Northwind Traders\n",
    "entities/Lisbon.md": "# Lisbon\n\nA city.\n",
}


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("memories")
    make_memories(root, {"robin": NOTES, "empty": {}})
    trio.run(change_twice, root / "robin")
    with page_server(root) as link:
        yield link


async def change_twice(path: Path) -> None:
    memory = Memory(path, history=True)
    for number, text in enumerate(("A city by the sea.", "The capital of Portugal, by the sea.")):
        async with memory.lease() as lease:
            origin = CommitOrigin(author="test-model", said=f"Tell me of Lisbon, {number}")
            await lease.commit(
                ChangeSet(writes={"entities/Lisbon.md": f"# Lisbon\n\n{text}\n".encode()}), origin=origin
            )


def test_a_note_is_shown_with_working_links(browser: Browser, link: str) -> None:
    browser.open(link, "#/memory/robin/notes/user.md")
    assert browser.one("article").text.startswith("Robin")
    assert browser.texts(".properties dd") == ["owner"]
    assert browser.texts("article .missing") == ["nobody"]
    assert "https://example.org/x" in browser.one("article .outside").text
    browser.one("article a", "ada#Work").click()
    browser.one("article h3.found", "Work")
    assert browser.texts(".note-aside section:first-child li") == ["user"]
    browser.driver.back()
    browser.one("article", "Robin")


def test_the_token_leaves_the_address(browser: Browser, link: str) -> None:
    browser.open(link)
    assert "token" not in browser.driver.current_url
    browser.driver.refresh()
    browser.one(".card", "robin")


def test_without_the_token_one_is_asked_for(browser: Browser, link: str) -> None:
    address, _, token = link.partition("#token=")
    browser.driver.get("about:blank")
    browser.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": address, "storageTypes": "all"})
    browser.driver.switch_to.new_window("tab")  # the session's storage belongs to a tab
    browser.driver.get(address)
    browser.one("#token").send_keys("wrong-token-of-some-length")
    browser.press("ENTER")
    browser.one("form", "not the server's")
    assert any("401" in complaint for complaint in browser.complaints())
    browser.one("#token").send_keys(token)
    browser.press("ENTER")
    browser.one(".card", "robin")
    browser.driver.close()
    browser.driver.switch_to.window(browser.driver.window_handles[0])


def test_the_tree_is_used_by_keyboard(browser: Browser, link: str) -> None:
    browser.open(link, "#/memory/robin/notes/user.md")
    tree = browser.one("[role=tree]")
    browser.wait(lambda: len(browser.all("[role=treeitem]")) == 2)
    tree.send_keys("")
    browser.driver.execute_script("arguments[0].focus()", tree)
    browser.press("HOME", "ARROW_RIGHT")
    browser.wait(lambda: len(browser.all("[role=treeitem]")) == 4)
    browser.press("ARROW_DOWN")
    active = tree.get_attribute("aria-activedescendant")
    assert "ada" in browser.driver.find_element("id", str(active)).text
    browser.press("ENTER")
    browser.one("article", "Lives in Lisbon")
    browser.driver.execute_script("arguments[0].focus()", tree)
    browser.press("ARROW_LEFT", "ARROW_LEFT")
    browser.wait(lambda: len(browser.all("[role=treeitem]")) == 2)


def test_search_as_one_types(browser: Browser, link: str) -> None:
    browser.open(link, "#/memory/robin/notes/user.md")
    browser.one("article", "Robin")
    browser.press("/")
    assert browser.focused() == "Search notes"
    browser.press("l", "i", "s")
    browser.one(".hit .path", "Lisbon")
    browser.press("BACKSPACE", "BACKSPACE", "BACKSPACE", "n", "o", "r", "t", "h", "w", "i", "n", "d")
    browser.one(".hit .line", "Northwind Traders")
    browser.press("ARROW_DOWN", "ENTER")
    browser.one("article", "Lives in")
    browser.press("/", "z", "z", "z")
    browser.one(".hits", "Nothing fits")
    browser.press("ESCAPE")
    browser.one("[role=tree]")


def test_the_graph_opens_notes(browser: Browser, link: str) -> None:
    browser.open(link, "#/memory/robin/graph")
    browser.one(".graph-bar", "3 notes, 2 links")
    canvas = browser.one("canvas")
    browser.driver.execute_script("arguments[0].focus()", canvas)
    browser.press("ARROW_RIGHT")
    browser.wait(lambda: browser.texts(".graph-canvas [aria-live]") == ["ada, 2 links"])
    browser.press("+", "-", "0", "ENTER")
    browser.one("article", "Lives in")


def test_the_history_shows_what_changed_and_brings_a_note_back(browser: Browser, link: str) -> None:
    browser.open(link, "#/memory/robin/history")
    newest = browser.one(".revision", "Tell me of Lisbon, 1")
    assert newest.get_attribute("aria-current") == "true"
    browser.one(".detail .added", "The capital of Portugal")
    browser.one(".detail .removed", "A city by the sea.")
    browser.one(".revision", "Tell me of Lisbon, 0").click()
    browser.one(".detail h2", "Tell me of Lisbon, 0")
    browser.one(".revision", "First state").click()
    browser.one(".detail", "3 notes as they were")
    browser.one(".revision", "Tell me of Lisbon, 0").click()
    browser.wait(lambda: "Lisbon, 0" in browser.texts(".detail h2")[0])


def test_a_note_is_restored_after_a_question(browser: Browser, tmp_path: Path) -> None:
    make_memories(tmp_path, {"robin": NOTES})
    trio.run(change_twice, tmp_path / "robin")
    trio.run(change_twice, tmp_path / "robin")
    with page_server(tmp_path) as link:
        browser.open(link, "#/memory/robin/history?path=entities%2FLisbon.md")
        browser.wait(lambda: len(browser.all(".revision")) >= 4)
        browser.all(".revision")[1].click()
        browser.one(".detail .added", "A city by the sea.")
        browser.one(".detail button", "Restore").click()
        browser.one("dialog button", "Restore").click()
        browser.one(".revision", "restored entities/Lisbon.md")
        browser.wait(lambda: "restored" in browser.texts(".detail h2")[0])
        browser.leave()
    assert (tmp_path / "robin" / "entities" / "Lisbon.md").read_text() == "# Lisbon\n\nA city by the sea.\n"


def test_an_empty_memory_says_so(browser: Browser, link: str) -> None:
    browser.open(link, "#/memory/empty")
    browser.one(".notice", "Nothing is written here yet")
    browser.go("#/memory/empty/graph")
    browser.one(".notice", "No notes yet")
    browser.go("#/memory/empty/history")
    browser.one(".notice", "No history yet")


def test_what_is_not_there_is_said(browser: Browser, link: str) -> None:
    browser.open(link, "#/memory/robin/notes/none.md")
    browser.one("[role=alert]", "there is no note 'none.md'")
    browser.go("#/memory/none/notes/a.md")
    browser.one("[role=alert]", "there is no memory 'none'")
    assert all("404" in complaint for complaint in browser.complaints())


def test_dark_and_light(browser: Browser, link: str) -> None:
    browser.open(link, "#/memory/robin/notes/user.md")
    browser.one("article", "Robin")
    background = "return getComputedStyle(document.body).backgroundColor"
    light = browser.driver.execute_script(background)
    browser.dark()
    dark = browser.driver.execute_script(background)
    assert dark != light
    browser.one("[aria-label='Dark or light']").click()
    assert browser.driver.execute_script(background) == light
    browser.driver.execute_script("localStorage.clear()")


def test_a_large_memory_is_shown_by_cluster(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "large"
    for number in range(2_400):
        note = folder / f"{number // 100:02}" / f"n{number}.md"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"# {number}\n\n[[n{number // 100 * 100}]] [[n{number // 100 * 100 + 1}]]\n")
    with page_server(tmp_path) as link:
        browser.open(link, "#/memory/large/graph")
        browser.one(".graph-bar", "2,400 notes in 24 clusters")
        browser.one(".graph-list a").click()
        browser.one(".graph-bar", "100 notes")
        browser.one(".graph-bar a", "All clusters").click()
        browser.one(".graph-bar", "24 clusters")
        browser.leave()
