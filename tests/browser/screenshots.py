"""``python -m tests.browser.screenshots``: the pictures of the docs, made anew in ``docs/images``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .chromium import Browser, missing, open_browser
from .scenes import SCENES, serve_scenes

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SHOWN = ("note", "search", "graph", "history", "chat", "review", "run", "job", "evaluation", "wrong")
DARK = ("note", "run")


def main() -> None:
    if problem := missing():
        raise SystemExit(problem)
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        for scene in SCENES:
            if scene.name in SHOWN:
                take(browser, Path(folder), scene.name, dark=False)
            if scene.name in DARK:
                take(browser, Path(folder), scene.name, dark=True)


def take(browser: Browser, folder: Path, name: str, *, dark: bool) -> None:
    """One picture, of a server of its own: what one scene changes is in no other."""
    scene = next(scene for scene in SCENES if scene.name == name)
    file = f"page-{name}{'-dark' if dark else ''}.png"
    with serve_scenes(folder / file) as link:
        browser.open(link)
        if dark:
            browser.dark()
        scene.show(browser)
        browser.driver.save_screenshot(str(IMAGES / file))
        browser.leave()
    print(IMAGES / file)


if __name__ == "__main__":
    main()
