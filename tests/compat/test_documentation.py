"""Every Python block of the documented API's pages runs, as written, before a real model server."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import sys
import typing
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import trioagent.compat.async_agent as async_agent
from tests.test_docs import snippets as run_by_test_docs
from trioagent import ChatMessage
from trioagent.compat import AgentResponse, settings
from trioagent.models.offline_rules import respond
from trioagent.testing import ModelRequest, ModelServer, serve_model

from .documentation import Block, blocks
from .support import environment

pytestmark = pytest.mark.real

ROOT = Path(__file__).parent.parent.parent
OUR_COPY = ROOT / "docs" / "documented-api.md"
MIGRATION = ROOT / "docs" / "how-to" / "migrate.md"
ORIGINAL = ROOT.parent / "shared" / "async_agent_documentation.md"
PAGES = [page for page in (OUR_COPY, MIGRATION, ORIGINAL) if page.is_file()]
BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = [block for block in BLOCKS if block.kind in ("script", "definitions", "statements")]

KINDS = {
    "documented-api.md": {"script": 5, "definitions": 3, "statements": 1, "signature": 4, "comment": 1},
    "migrate.md": {"script": 2, "trio": 1},
    "async_agent_documentation.md": {"script": 3, "definitions": 2, "statements": 1, "signature": 3, "comment": 1},
}


def answer(request: ModelRequest) -> str:
    """What a model might say: what offline-rules would, but files that are asked for are made, and one at least."""
    messages = [
        ChatMessage("tool" if message["content"].startswith("<result>") else message["role"], message["content"])  # type: ignore[arg-type]
        for message in request.messages
    ]
    said = messages[-1].content
    if "JSON schema" in messages[0].content:
        return '<think>Lisbon.</think>Here it is:\n```json\n{"name": "Lisbon", "inhabitants": 545000}\n```'
    if messages[-1].role == "tool" and "done = create_file" in messages[-2].content:
        return "<think>It is there.</think>\n<python></python>\n<reply>The file is there.</reply>"
    wanted = re.fullmatch(r"Create a file called '(.+)'", said)
    text = respond(messages)
    if wanted or (messages[-1].role == "user" and "<reply>" in text):  # the rules see nothing to do
        name = wanted[1] if wanted else "user.md"
        return f"<think>A file.</think>\n<python>\ndone = create_file({name!r}, 'made')\n</python>"
    return text


@asynccontextmanager
async def serving() -> AsyncIterator[ModelServer]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve_model, answer)
        nursery.cancel_scope.cancel()


async def run(source: str, folder: Path, *, as_agent: bool) -> str:
    """The output of a program; *as_agent*: of one that imports the package `agent`."""
    root, how = ("agent", ["-m", "trioagent.compat"]) if as_agent else ("trioagent.compat", [])
    folder.mkdir()
    script = folder / "program.py"
    script.write_text(re.sub(r"\bfrom (?:trioagent\.compat|agent)\.", f"from {root}.", source))
    async with serving() as server:
        env = environment(folder, TRIOAGENT_BASE_URL=server.base_url, TRIOAGENT_MODEL="loopback", PYTHONPATH=str(ROOT))
        command = [sys.executable, "-W", "error", *how, str(script)]
        with trio.fail_after(60):
            done = await trio.run_process(
                command, cwd=folder, env=env, capture_stdout=True, capture_stderr=True, check=False
            )
    assert done.returncode == 0, f"{done.stderr.decode()}\nin\n{script.read_text()}"
    assert server.served or "TimeoutError" in source or not re.search(r"asyncio\.run|\.chat\(", source)
    script.unlink()
    return done.stdout.decode()


def test_no_block_is_overlooked() -> None:
    for page in PAGES:
        found = Counter(block.kind for block in blocks(page))
        assert found == KINDS[page.name], page.name
        assert sum(found.values()) == page.read_text().count("```python\n")


# The original imports `agent`. Two of our copy's blocks do so too, for a checkout that has no original beside it.
AS_AGENT = [block for block in RUN if block.page == ORIGINAL.name or (block.page == OUR_COPY.name and block.number < 2)]
WAYS = [
    *((block, False) for block in RUN if block.page != ORIGINAL.name),
    *((block, True) for block in AS_AGENT),
]


@pytest.mark.parametrize(
    ("block", "as_agent"), WAYS, ids=lambda v: f"{v.page}:{v.number}" if isinstance(v, Block) else "agent" if v else ""
)
async def test_block(block: Block, as_agent: bool, tmp_path: Path) -> None:
    out = await run(block.program(), tmp_path / "here", as_agent=as_agent)
    check_effects(block.source, out, tmp_path / "here")


def check_effects(source: str, out: str, folder: Path) -> None:
    """What a block says that it does has been done."""
    if "Success rate" in source:
        assert out == "Success rate: 100.00%\n"
        (rows,) = folder.glob("output/sft/*/conversations.jsonl")
        assert len(rows.read_text().splitlines()) == 2
        assert not list(folder.rglob("*.md"))  # no memory is left
        return
    if "schema=City" in source:
        assert out == "Lisbon 545000\n"
        return
    if "TimeoutError" in source:
        assert out == "Stopped: 1 message\n"
        assert not list(folder.rglob("*.md"))
        return
    if "persona_list = " in source:
        assert out == ""
        return
    replies = [line for line in out.splitlines() if line]
    assert replies, "no reply was printed"
    memories = {path.parent.relative_to(folder / "memory").parts[0] for path in (folder / "memory").rglob("*.*")}
    named = {name.replace("{i}", "#").replace("{number}", "#") for name in re.findall(r'memory_path=f?"(.+?)"', source)}
    expected = {name.replace("#", str(number)) for name in named for number in range(5)} or {"memory_dir"}
    assert memories == (set() if "Where do I live?" in source else expected)  # a question leaves no note
    for name in re.findall(r"Create a file called '(.+?)'", source):
        assert [path.read_text() for path in folder.rglob(name)] == ["made"]
        assert "The file is there." in replies
    if "run_agents_concurrently(" in source:
        assert [number for number in range(5) if f"Agent {number}: " in out] == list(range(5))
    saved = list((folder / "output" / "conversations").glob("convo_*.json")) if "save_conversation" in source else []
    assert len(saved) == source.count("save_conversation(")
    for path in saved:
        roles = [message["role"] for message in json.loads(path.read_text())]
        assert roles[:3] == ["system", "user", "assistant"]
        assert roles[-1] == "assistant"


SIGNATURES = [(block, name) for block in BLOCKS if block.kind == "signature" for name in block.signatures()]


@pytest.mark.parametrize(
    ("block", "name"), SIGNATURES, ids=lambda value: value if isinstance(value, str) else value.page
)
def test_signature(block: Block, name: str) -> None:
    documented = block.signatures()[name]
    real = find(name)
    parameters = list(inspect.signature(real).parameters.values())
    assert inspect.iscoroutinefunction(real) == isinstance(documented, ast.AsyncFunctionDef)
    told = documented.args.args
    assert [arg.arg for arg in told] == [parameter.name for parameter in parameters[: len(told)]]
    assert all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters[: len(told)])
    assert all(parameter.default is not parameter.empty for parameter in parameters[len(told) :])
    defaults = [ast.unparse(default) for default in documented.args.defaults]
    names = vars(settings)
    for parameter, default in zip(parameters[len(told) - len(defaults) : len(told)], defaults, strict=True):
        assert parameter.default == eval(default, {"__builtins__": {}}, names)
    for parameter in parameters[1 : len(told) - len(defaults)]:
        assert parameter.default is parameter.empty
    if documented.returns is not None:
        check_return(real, ast.unparse(documented.returns))


def find(name: str) -> Any:
    if name == "async_generate_conversations_batch":
        from trioagent.compat.async_agent import async_sft_adapter

        return async_sft_adapter.async_generate_conversations_batch
    found: Any = async_agent
    for part in name.split("."):
        found = getattr(found, part)
    return found


def check_return(function: Any, told: str) -> None:
    real = typing.get_type_hints(function)["return"]
    if told.startswith("Union["):
        assert real is Any  # the text or an instance of the schema: overloads say which
        return
    known = {"AgentResponse": AgentResponse, "Path": Path, "list": list, "bool": bool}
    assert real == eval(told, {"__builtins__": {}}, known)


MODULES = [
    "agent", "async_agent.async_agent", "async_agent.async_engine", "async_agent.async_model",
    "async_agent.async_sft_adapter", "engine", "model", "schemas", "settings", "tools", "utils",
]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_the_migration_guide_has_every_public_name(name: str) -> None:
    rows = [line.split("|") for line in MIGRATION.read_text().splitlines() if line.startswith("|")]
    named = {word for row in rows if len(row) > 3 for word in re.findall(r"`(\w+)[`(]", row[2])}
    assert set(importlib.import_module(f"trioagent.compat.{name}").__all__) <= named


def test_trio_blocks_are_run_with_the_other_pages() -> None:
    theirs = [code for _, code in run_by_test_docs()]
    assert all(block.source in theirs for block in BLOCKS if block.kind == "trio")
