"""Python blocks of a documentation page: what kind each is, and the program that runs it."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path
from typing import Literal

import attrs

Kind = Literal["script", "definitions", "statements", "signature", "comment", "trio"]

_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HEAD = re.compile(
    r"^(?P<head>[ \t]*(?:async )?def \w+\([^()]*(?:\([^()]*\)[^()]*)*\)(?:[ \t]*->[ \t]*[^\n:]+)?)[ \t]*$",
    re.MULTILINE,
)

# What a page's blocks take from the blocks before them, or leave to their readers, by name.
_PERSONAS = """
persona_list = [
    {
        "name_surname": name,
        "age": 40,
        "gender": "female",
        "birthplace": {"city": "Porto", "country": "Portugal"},
        "occupation": "teacher",
        "detailed_backstory": "Has lived in many towns.",
        "relationships": [{"name_surname": "Rui Costa", "relationship": "brother"}],
    }
    for name in ("Ana Costa", "Rita Costa")
]
"""
SUPPLIED = {
    "asyncio": "import asyncio",
    "Agent": "from agent.agent import Agent",
    "AsyncAgent": "from agent.async_agent import AsyncAgent",
    "persona_list": _PERSONAS,
    "facts_lists": (
        'facts_lists = [[{"fact_description": "I live in Porto."}], [{"fact_description": "I work at Acme."}]]'
    ),
    "create_persona_model": """
from trioagent.sft import ScriptedPersona
def create_persona_model(persona, facts):
    return ScriptedPersona(persona, facts)
""",
}


@attrs.frozen
class Block:
    """One block.

    Attributes:
        page: the file's name.
        number: of the block on its page, from 0.
        source: as it stands there.
        kind: a "script" does something when run; "definitions" are of async functions that somebody has to run;
            "statements" have ``await`` outside of any function; a "signature" has no body; "trio" is a Trio script.
    """

    page: str
    number: int
    source: str
    kind: Kind

    def program(self) -> str:
        """What to run: the block, after the names it lacks, and before the calls it lacks."""
        tree = ast.parse(self.source)
        supplied = [SUPPLIED[name] for name in sorted(_missing_names(tree))]
        match self.kind:
            case "script":
                return "\n".join([*supplied, self.source])
            case "definitions":
                calls = [f"asyncio.run({name}())" for name in _async_functions(tree)]
                return "\n".join([*supplied, self.source, *(["import asyncio"] if calls else []), *calls])
            case "statements":
                return "\n".join([*supplied, "import asyncio", *map(_statement, tree.body)])
        raise AssertionError(f"a {self.kind} is not run")

    def signatures(self) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
        """The functions whose heads stand here, by name, with their class if they have one."""
        found = {}
        for node in ast.parse(_with_bodies(self.source)).body:
            for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
                assert isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef), ast.dump(inner)
                name = f"{node.name}.{inner.name}" if isinstance(node, ast.ClassDef) else inner.name
                found[name] = inner
        return found


def blocks(page: Path) -> list[Block]:
    """Every Python block of *page*, whatever it is."""
    return [
        Block(page.name, number, source, _kind(source))
        for number, source in enumerate(_BLOCK.findall(page.read_text()))
    ]


def _kind(source: str) -> Kind:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        ast.parse(_with_bodies(source))
        return "signature"
    if not tree.body:
        return "comment"
    if "trio.run(" in source:
        return "trio"
    if any(_awaits(node) for node in tree.body):
        return "statements"
    passive = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef)
    return "definitions" if all(isinstance(node, passive) for node in tree.body) else "script"


def _with_bodies(source: str) -> str:
    return _HEAD.sub(r"\g<head>: ...", source)


def _awaits(node: ast.stmt) -> bool:
    if isinstance(node, ast.AsyncFunctionDef):
        return False
    return any(isinstance(part, ast.Await) for part in ast.walk(node))


def _async_functions(tree: ast.Module) -> list[str]:
    return [node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)]


def _statement(node: ast.stmt) -> str:
    """One statement as it would run at a prompt: a value that is awaited is awaited in an event loop."""
    if not _awaits(node):
        return ast.unparse(node)
    assert isinstance(node, ast.Assign) and isinstance(node.value, ast.Await), ast.unparse(node)
    call = node.value.value
    assert isinstance(call, ast.Call)
    targets = " = ".join(ast.unparse(target) for target in node.targets)
    return f"{targets} = asyncio.run({ast.unparse(call)})\nprint({targets}.reply)"


def _missing_names(tree: ast.Module) -> set[str]:
    """Names that are used and nowhere given."""
    used: set[str] = set()
    given = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else given).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            given.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            given.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.arg):
            given.add(node.arg)
    return used - given
