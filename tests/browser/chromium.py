"""The installed Chromium, driven over WebDriver; and what a test asks of a page again and again."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

T = TypeVar("T")
BROWSERS, DRIVERS = ("chromium", "google-chrome", "chromium-browser"), ("chromedriver",)
SECONDS = 30.0
"""How long a page may take for anything; far above what it needs."""
WIDTH, HEIGHT = 1440, 900
AXE = Path(__file__).parent / "vendor" / "axe.min.js"


def missing() -> str:
    """Why there is no browser to be driven, or ""."""
    for names in (BROWSERS, DRIVERS):
        if not any(map(shutil.which, names)):
            return f"none of {', '.join(names)} is installed (Debian: apt-get install chromium chromium-driver)"
    return ""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser without a window, and with a profile of its own."""
    options = ChromeOptions()
    options.binary_location = next(found for name in BROWSERS if (found := shutil.which(name)))
    for switch in (
        "--headless=new",
        "--no-sandbox",  # the tests may run as root, for whom Chromium has none
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
        f"--window-size={WIDTH},{HEIGHT}",
    ):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(next(found for name in DRIVERS if (found := shutil.which(name))))
    driver = Chrome(options=options, service=service)
    try:
        yield Browser(driver)
    finally:
        driver.quit()


class Browser:
    """A browser with one tab."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, link: str, route: str = "") -> None:
        """Open the page by its link in a fresh tab's storage, and go to *route*, such as ``#/run/july``."""
        self.driver.get("about:blank")
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        self.size(WIDTH, HEIGHT)
        self.driver.get(link)
        self.wait(lambda: self.all("header .brand, form.sign-in"))
        if route:
            self.go(route)

    def leave(self) -> None:
        """Close the page, before its server goes: it would complain of that."""
        self.driver.get("about:blank")

    def go(self, route: str) -> None:
        self.driver.execute_script("location.hash = arguments[0]", route)

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def dark(self) -> None:
        """As if the system were set to dark colours."""
        features = [{"name": "prefers-color-scheme", "value": "dark"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str, text: str = "") -> WebElement:
        """The first visible element that has *text* in it; waited for."""

        def found() -> WebElement | None:
            for element in self.all(selector):
                if element.is_displayed() and text in element.text:
                    return element
            return None

        return self.wait(found, f"{selector} with {text!r}")

    def texts(self, selector: str) -> list[str]:
        """What the elements say, visible or not."""
        script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)"
        texts: list[str] = self.driver.execute_script(script, selector)
        return texts

    def wait(self, find: Callable[[], T | None], what: str = "what the test waits for") -> T:
        """The first true value of *find*."""
        end = time.monotonic() + SECONDS
        while True:
            try:
                if found := find():
                    return found
            except StaleElementReferenceException:
                pass  # drawn anew meanwhile
            assert time.monotonic() < end, f"{what} did not come; the page says {self.texts('main')}"
            time.sleep(0.05)

    def type_into(self, selector: str, text: str) -> None:
        """Put a long text into a field at once, as pasting does."""
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        self.driver.execute_script(script, self.one(selector), text)

    def choose(self, selector: str, value: str) -> None:
        """Choose one of a list's options, once it is there."""
        self.wait(lambda: self.all(f"{selector} option[value='{value}']"), f"{value} in {selector}")
        self.one(selector).send_keys(value)

    def say(self, text: str) -> None:
        """Say something in the chat that is shown, once it has its session."""
        before = len(self.all(".turn"))
        self.type_into("textarea", text)

        def sent() -> bool:
            if len(self.all(".turn")) == before:
                self.one("textarea").send_keys("\n")
            return len(self.all(".turn")) > before

        self.wait(sent, "the message")

    def press(self, *keys: str) -> None:
        """Keys for whatever has the focus."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(getattr(Keys, key, key))

    def focused(self) -> str:
        """What the focus is on, in short."""
        script = "const e = document.activeElement; return e.getAttribute('aria-label') || e.textContent || e.tagName"
        return str(self.driver.execute_script(script))

    def complaints(self) -> list[str]:
        """What the console has said since the last time: errors, refused by the policy or not."""
        entries = self._log("browser")
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """The addresses that the page has asked for since the last time, the browser's own pages left out."""
        found = []
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                found.append(message["params"]["url"])
        return [url for url in found if not url.startswith(("data:", "about:", "chrome:"))]

    def _log(self, name: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.driver.get_log(name)  # type: ignore[no-untyped-call]
        return entries

    def axe(self) -> list[str]:
        """What axe-core finds that is serious or critical, each with the elements that it means."""
        self.driver.execute_script(AXE.read_text())
        result = self.driver.execute_async_script(
            "axe.run(document, { resultTypes: ['violations'] }).then(arguments[arguments.length - 1])"
        )
        return [
            f"{found['id']} ({found['impact']}): {node['target']} {node['failureSummary']}"
            for found in result["violations"]
            if found["impact"] in ("serious", "critical")
            for node in found["nodes"]
        ]
