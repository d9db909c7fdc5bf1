"""The house's order: imports point up the list of layers, public names are documented, the surface is light."""

from __future__ import annotations

import ast
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_type_hints

import pytest

import trioagent
from gates.surface import exported_names

PACKAGE = Path(trioagent.__file__).parent
# Lowest first; a module may import from its own layer and from those before it.
LAYERS = [
    [
        "_errors",
        "_model_profile",
        "_config",
        "_network",
        "_messages",
        "_files",
        "_descriptors",
        "_deprecated",
        "_exceptions",
        "_lazy",
        "_wire",
        "_steps",
        "_json_steps",
        "_peers",
    ],
    [
        "_parsed_reply",
        "_reply_parser",
        "_context",
        "_turn",
        "_prompt",
        "_numbers",
        "_polarity",
        "_redaction",
        "_circuit_breaker",
        "_server_behaviour",
        "_retry_policy",
        "_rates",
        "_activity",
        "_span_names",
        "_tracing",
    ],
    ["tools"],
    ["memory"],
    ["_memory_tool"],
    ["models"],
    ["sandbox"],
    ["_events"],
    ["_remote"],
    ["runtime"],
    ["_driver", "_event_stream", "_chat_filter", "_filter_rules", "agent"],
    ["_outcomes"],
    ["nursery_runner"],
    ["_runs"],
    ["batch", "sft", "evals"],
    ["cluster"],
    ["export", "rl"],
    ["server"],
    ["compat"],
    ["testing"],
    ["cli", "__main__"],
]
ORDER = {name: number for number, layer in enumerate(LAYERS) for name in layer}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imported_names(path: Path) -> set[tuple[str, ...]]:
    """What a module imports of trioagent: ("batch", "_jobs", "Job") for ``from .batch._jobs import Job``."""
    package = path.relative_to(PACKAGE.parent).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = [*base, *(node.module or "").split(".")] if node.module else base
            names = [[*module, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        found |= {tuple(name[1:]) for name in names if name[0] == "trioagent" and len(name) > 1}
    return found


def imported(path: Path) -> set[str]:
    """The top-level parts of trioagent that a module imports."""
    return {name[0] for name in imported_names(path)}


def exports(package: str) -> set[str]:
    """The names that a package's ``__init__`` gives to other packages, its public modules among them."""
    found = {path.stem for path in (PACKAGE / package).iterdir()}
    for node in ast.walk(ast.parse((PACKAGE / package / "__init__.py").read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_up_the_layers(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    below = {name for name in imported(path) if ORDER.get(name, 0) > ORDER[own]}
    assert not below, f"{own} imports {below} from layers below it"


def test_packages_take_from_others_what_these_export() -> None:
    """The exports of a package's ``__init__``, or of one of its public modules, are all that another package knows."""
    taken: dict[str, set[str]] = {}
    for path in modules():
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for package, *inside in imported_names(path):
            if package == own or not (PACKAGE / package).is_dir() or not inside:
                continue
            if any(part.startswith("_") for part in inside[:-1]) or inside[0] not in exports(package):
                taken.setdefault(own, set()).add(".".join([package, *inside]))
    assert not taken


def test_what_runs_in_sandbox_processes_imports_the_standard_library_and_tools() -> None:
    """Besides itself; what runs in Monty's processes, its client too."""
    guest = PACKAGE / "sandbox" / "_guest"
    for path in [*guest.rglob("*.py"), *(PACKAGE / "tools").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
                others = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
                assert others <= ({"pydantic_monty"} if path.parent.name == "monty" else set()), path
        for package, *inside in imported_names(path):
            assert package == "tools" or [package, *inside][:2] == ["sandbox", "_guest"], path


def test_kinds_of_runs_stand_beside_each_other() -> None:
    """Batches and training conversations know the engine of runs, and nothing of each other."""
    for own, other in (("batch", "sft"), ("sft", "batch")):
        for path in (PACKAGE / own).rglob("*.py"):
            assert other not in imported(path), path


def test_asyncio_is_imported_by_the_shim_alone() -> None:
    for path in modules():
        if path.relative_to(PACKAGE).parts[0] == "compat":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not any(name.split(".")[0] == "asyncio" for name in names), path


# What the documented API calls as the library does: no entry may be added.
TWICE = {"Agent", "AgentResponse", "ChatMessage"}


def test_a_class_name_means_one_class() -> None:
    found: dict[str, list[str]] = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: paths for name, paths in found.items() if len(paths) > 1 and name not in TWICE} == {}


# Words that only their author understands, and what the field calls it.
PRIVATE_WORDS = {
    "around": "container, enclosing",
    "foreigners": "mixed ownership",
    "ground": "isolation backend",
    "grounds": "isolation backends",
    "hello": "handshake",
    "keeper": "tool server",
    "lane": "connection",
    "lanes": "connection pool",
    "lend": "map, share",
    "lent": "mapped, shared",
    "pacer": "rate limiter",
    "told": "what was described, stated, reported",
    "walls": "confinement",
    "warden": "supervisor",
}
# A check's name in the rows of a run: no entry may be added.
STILL_PRIVATE = {"facts_told"}


def test_names_are_made_of_words_that_the_field_knows() -> None:
    private = {}
    for path in modules():
        names = {path.stem}
        for node in ast.walk(ast.parse(path.read_text())):
            names |= {str(getattr(node, field, "")) for field in ("name", "id", "attr", "arg", "asname")}
        for name in names - STILL_PRIVATE:
            words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
            if found := words & PRIVATE_WORDS.keys():
                private[f"{path.relative_to(PACKAGE)}: {name}"] = [PRIVATE_WORDS[word] for word in found]
    assert not private


def test_each_public_name_is_imported_where_a_checker_sees_it() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    seen = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    assert seen == {name: module for module, names in trioagent._PLACES.items() for name in names.split()}
    assert set(seen) <= set(dir(trioagent))


def test_tools_bring_neither_trio_nor_httpx_along() -> None:
    """Sandbox processes load them: on the standard library alone, and by any way of asking."""
    code = """
import sys
from trioagent import tools
import trioagent.tools
from trioagent.tools import make_tools, search
print(*{name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names))
"""
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert (set(done.stdout.split()) - {"__main__"}, done.stderr) == ({"trioagent"}, "")


def test_a_star_import_gives_the_exported_names() -> None:
    assert sorted(vars(trioagent)["__all__"]) == sorted(exported_names())
    names: dict[str, object] = {}
    exec("from trioagent import *", names)
    assert set(exported_names()) <= set(names)


@pytest.mark.parametrize("name", exported_names())
def test_public_names_say_where_they_are_found(name: str) -> None:
    thing = getattr(trioagent, name)
    if name in ("AgentEvent", "Outcome"):  # unions have no place
        return
    assert thing.__module__ == "trioagent"
    assert pickle.loads(pickle.dumps(thing)) is thing
    if isinstance(thing, type):
        get_type_hints(thing)  # annotations are found still, though they were written in another module


def test_every_public_name_is_on_the_reference_page() -> None:
    page = (PACKAGE.parent / "docs" / "reference.md").read_text()
    missing = [name for name in exported_names() if f"`{name}" not in page]
    assert not missing


def test_every_public_name_is_documented_where_it_is_defined() -> None:
    missing = [
        name for name in exported_names() if not (getattr(trioagent, name).__doc__ or name in ("AgentEvent", "Outcome"))
    ]
    assert not missing


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    assert trioagent.__version__ == project["version"]


def test_import_is_light() -> None:
    """What costs import time and is not always needed is loaded when it is used (the time itself: see benchmarks)."""
    code = "import sys, trioagent; print(*sorted({'httpx', 'rich', 'click', 'ssl', 'sqlite3'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "httpx" not in done.stdout
    assert "rich" not in done.stdout
    assert "click" not in done.stdout
