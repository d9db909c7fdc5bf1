"""Every view, light and dark: axe-core finds nothing serious, nothing is cut off, and nothing jumps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .chromium import HEIGHT, WIDTH, Browser
from .scenes import SCENES, Scene, serve_scenes

pytestmark = [pytest.mark.real, pytest.mark.browser]


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve_scenes(tmp_path_factory.mktemp("scenes")) as link:
        yield link


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_nothing_serious_is_found(browser: Browser, link: str, scene: Scene, dark: bool) -> None:
    browser.open(link)
    if dark:
        browser.dark()
    scene.show(browser)
    assert browser.axe() == []
    browser.leave()


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_nothing_is_wider_than_the_window(browser: Browser, link: str, scene: Scene) -> None:
    browser.open(link)
    scene.show(browser)
    for width in (WIDTH, 1024, 700, 400):
        browser.size(width, HEIGHT)
        overflow = "return document.documentElement.scrollWidth - innerWidth"
        browser.wait(lambda: browser.driver.execute_script(overflow) <= 0, f"no overflow at {width}")  # noqa: B023
    browser.leave()


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_nothing_jumps(browser: Browser, link: str, scene: Scene) -> None:
    """By the browser's own measure of layout that shifts without the user; 0.1 is what is called good."""
    browser.open(link)
    browser.driver.execute_script(
        "window.shifts = 0; new PerformanceObserver((list) => { for (const each of list.getEntries()) "
        "if (!each.hadRecentInput) window.shifts += each.value; }).observe({ type: 'layout-shift', buffered: true });"
    )
    scene.show(browser)
    assert browser.driver.execute_script("return window.shifts") < 0.1
    browser.leave()


def test_headings_lead_through_the_page(browser: Browser, link: str, tmp_path: Path) -> None:
    """One first heading in a note, and the sides named for those who jump between landmarks."""
    browser.open(link, "#/memory/robin/notes/user.md")
    browser.one("article")
    assert len(browser.texts("h1")) == 1
    assert len(browser.texts("main")) == len(browser.texts("header#header")) == 1
    assert all(browser.driver.execute_script("return [...document.querySelectorAll('aside')].map((e) => e.ariaLabel)"))
