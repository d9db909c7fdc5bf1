"""Every Python snippet and example of the documentation runs as written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# What the examples show, where any output at all would not show it.
SHOWN = {
    "compat_basic.py": ["Sync: You live in Berlin.", "Async: You live in Boston.", "output/conversations/convo_"],
    "compat_batch.py": ["Ana Costa: accepted", "Success rate: 100.00%"],
    "compat_comparison.py": ["10 agents, 0.2 s an answer", "sequential:", "concurrent:", "ratio:"],
    "compat_concurrent.py": ["Agent 0: You live in Rome.", "Agent 4: You live in Quito.", "Agent 1 failed: "],
    "compat_mixed.py": ["Sync: Noted:", "Async: Noted:", "Ada lives in Oslo.", "Bo lives in Lima."],
    "sft_conversations.py": [f"{flow:10} success rate 100.00%" for flow in ("introduce", "update", "retrieve")],
}


def snippets() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        blocks = re.finditer(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        for number, match in enumerate(blocks):
            if "trio.run(" in match[1]:  # a whole script; others are parts of one and say so
                found.append((f"{page.relative_to(ROOT)}:{number}", match[1]))
    return found


def run(code: str, folder: Path) -> str:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("TRIOAGENT", "OPENROUTER", "VLLM"))
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, env=clean, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("name", "code"), snippets(), ids=lambda value: value if ":" in value[:60] else "")
def test_snippet(name: str, code: str, tmp_path: Path) -> None:
    run(code, tmp_path)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example(path: Path, tmp_path: Path) -> None:
    out = run(path.read_text(), tmp_path)
    assert out.strip()
    assert [words for words in SHOWN.get(path.name, ()) if words not in out] == []


def test_what_examples_show_is_of_examples() -> None:
    assert SHOWN.keys() <= {path.name for path in EXAMPLES}


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
