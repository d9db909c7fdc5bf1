"""The recipes of docs/how-to/embed.md run, with the packages that they need."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .support import environment

pytestmark = pytest.mark.real

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "how-to" / "embed.md").read_text()
RECIPES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

DRIVEN = {
    "FastAPI(": """
async def drive():
    async def receive():
        await asyncio.sleep(3600)

    class Gone:
        async def is_disconnected(self):
            return True

    class There:
        async def is_disconnected(self):
            return False

    async with lifespan(app):
        assert (await ready())["calls"] == 0
        assert (await chat(Said(user="ada", message="I live in Rome."), There()))["reply"]
        asked = [chat(Said(user="ada", message="Where do I live?"), There()) for _ in range(2)]
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            print("busy 409" if isinstance(outcome, HTTPException) else "Rome" in outcome["reply"])
        try:
            await chat(Said(user="bo", message="I live in Oslo."), Gone())
        except HTTPException as error:
            print("gone", error.status_code, health().calls)
    print(health().running)

asyncio.run(drive())
""",
    "def post_worker_init": "post_worker_init(None)\nworker_exit(None, None)\nprint('worker')",
}
SHOWN = {
    "FastAPI(": "True\nbusy 409\ngone 499 0\nFalse\n",
    "def answer": "Noted: ",
    "asyncio.run(agent": "You live in Boston.",
    "stream_chat": "Replied\n",
    "post_worker_init": "worker\n",
}


def test_there_are_recipes() -> None:
    assert len(RECIPES) == 6


@pytest.mark.parametrize("recipe", RECIPES, ids=range(len(RECIPES)))
def test_recipe(recipe: str, tmp_path: Path) -> None:
    for needed in re.findall(r"^(?:from|import) (\w+)", recipe, re.MULTILINE):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"needs {needed}, which is not installed here")
    driven = "".join(code for mark, code in DRIVEN.items() if mark in recipe)
    (tmp_path / "recipe.py").write_text(f"{recipe}\n{driven}")
    done = subprocess.run(
        [sys.executable, "recipe.py"],
        cwd=tmp_path,
        env=environment(tmp_path, PYTHONPATH=str(ROOT), TRIOAGENT_MODEL="offline-rules"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for mark, words in SHOWN.items():
        if mark in recipe:
            assert words in done.stdout
