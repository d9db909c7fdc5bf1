"""The page as it is sent: all that may run is named by hash, and all of it is in the package."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from trioagent.server._page import page_files

from .serving import make_memories, serving

PAGE = Path(str(files("trioagent.server") / "page"))


class Elements(HTMLParser):
    """The scripts, links and styles of a document."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag if tag in ("style", "script") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside] = self.texts.get(self._inside, "") + data


def integrity(data: bytes) -> str:
    return f"sha256-{b64encode(sha256(data).digest()).decode()}"


def directives(policy: str) -> dict[str, list[str]]:
    parts = [part.split() for part in policy.split(";")]
    return {name: values for name, *values in parts}


@pytest.mark.real
async def test_what_may_run_is_named_by_hash(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {"user.md": "# Ada"}})
    async with serving(tmp_path) as served:
        page = await served.client.get("/", headers={"Authorization": ""})
        policy = directives(page.headers["content-security-policy"])
        elements = Elements(page.text)
        scripts = [found["src"] for tag, found in elements.found if tag == "script" and found.get("src")]
        links = [found for tag, found in elements.found if found.get("rel") == "modulepreload"]
        preloads = {str(link["href"]): link["integrity"] for link in links}
        assert scripts == ["/assets/app.js"]
        imports = elements.texts["script"].strip()
        assert policy["style-src"] == [repr(integrity(elements.texts["style"].encode()))]
        allowed = {repr(integrity(imports.encode()))}
        for address, hashed in preloads.items():
            part = await served.client.get(address, headers={"Authorization": ""})
            assert part.headers["content-type"].startswith("text/javascript")
            assert integrity(part.content) == hashed
            allowed.add(repr(hashed))
        assert set(policy["script-src"]) == allowed
        assert json.loads(imports)["integrity"] == preloads
        assert set(json.loads(imports)["imports"].values()) <= set(preloads)
        for missing in ("/assets/none.js", "/assets/../_page.py", "/assets/style.css", "/assets/index.html"):
            assert (await served.client.get(missing)).status_code == 404


def test_the_policy_lets_nothing_else_in() -> None:
    policy = directives(page_files().policy)
    assert policy["default-src"] == ["'none'"]
    assert policy["connect-src"] == ["'self'"]
    assert policy["trusted-types"] == ["'none'"]
    assert policy["require-trusted-types-for"] == ["'script'"]
    for name in ("base-uri", "form-action", "frame-ancestors"):
        assert policy[name] == ["'none'"]
    assert "unsafe" not in page_files().policy


def test_modules_import_only_what_is_there() -> None:
    """And make no markup, ask no other host, and run no text."""
    libraries = {"uplot", "d3-force"}
    for path in PAGE.glob("*.js"):
        text = path.read_text()
        for name in re.findall(r'from "([^"]+)"', text):
            assert name in libraries or (PAGE / name).is_file(), (path, name)
        forbidden = r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|eval\(|new Function|https?://"
        found = [hit for hit in re.findall(forbidden, text) if hit != "http://"]
        assert not found, path
        addresses = re.findall(r"http://[\w./]+", text)
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path


def test_vendored_files_have_their_licences() -> None:
    table = (PAGE / "vendor" / "README.md").read_text()
    named = set(re.findall(r"^\| `([^`]+)`", table, re.MULTILINE))
    there = {path.name for path in (PAGE / "vendor").iterdir() if path.suffix in (".js", ".css")}
    assert named == there
    for licence in set(re.findall(r"`(LICENSE[^`]+)`", table)):
        assert (PAGE / "vendor" / licence).stat().st_size > 500
