"""The house's order: imports point up the list of layers, public names are documented, the surface is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import trioagent

PACKAGE = Path(trioagent.__file__).parent
# From the ground up; a module may import from its own layer and from those before it.
LAYERS = [
    ["_errors", "_config", "_messages", "_files", "_deprecated"],
    ["_parsed_reply", "_reply_parser", "_turn", "_prompt", "_retry_policy", "_rates", "_activity"],
    ["tools"],
    ["memory"],
    ["models"],
    ["sandbox"],
    ["_events"],
    ["runtime"],
    ["agent"],
    ["_outcomes"],
    ["nursery_runner"],
    ["batch"],
    ["sft"],
    ["compat"],
    ["testing"],
    ["cli", "__main__"],
]
ORDER = {name: number for number, layer in enumerate(LAYERS) for name in layer}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imported(path: Path) -> set[str]:
    """The top-level parts of trioagent that a module imports."""
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
        found |= {name[1] for name in names if name[0] == "trioagent" and len(name) > 1}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_up_the_layers(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    below = {name for name in imported(path) if ORDER.get(name, 0) > ORDER[own]}
    assert not below, f"{own} imports {below} from layers below it"


def test_asyncio_is_imported_by_the_shim_alone() -> None:
    for path in modules():
        if path.relative_to(PACKAGE).parts[0] == "compat":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not any(name.split(".")[0] == "asyncio" for name in names), path


def public_names() -> list[str]:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    return [
        alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names if alias.asname
    ]


def test_every_public_name_is_on_the_reference_page() -> None:
    page = (PACKAGE.parent / "docs" / "reference.md").read_text()
    missing = [name for name in public_names() if f"`{name}" not in page]
    assert not missing


def test_every_public_name_is_documented_where_it_is_defined() -> None:
    missing = [
        name for name in public_names() if not (getattr(trioagent, name).__doc__ or name in ("AgentEvent", "Outcome"))
    ]
    assert not missing


def test_every_public_error_ends_in_error() -> None:
    public = [vars(module)[name] for module in (trioagent, trioagent.batch) for name in dir(module)]
    errors = [thing for thing in public if isinstance(thing, type) and issubclass(thing, BaseException)]
    assert len(errors) > 20
    assert [error.__name__ for error in errors if not error.__name__.endswith("Error")] == []


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (trioagent, "Done", trioagent.JobDone),
        (trioagent, "Failed", trioagent.JobFailed),
        (trioagent, "Cancelled", trioagent.JobCancelled),
        (trioagent, "DeadlineExceeded", trioagent.DeadlineExceededError),
        (trioagent, "SandboxUnavailable", trioagent.SandboxUnavailableError),
        (trioagent, "AgentsFailed", trioagent.AgentsFailedError),
        (trioagent, "BadJobs", trioagent.BadJobsError),
        (trioagent.nursery_runner, "Done", trioagent.JobDone),
        (trioagent.batch, "BadJobs", trioagent.BadJobsError),
        (trioagent.batch, "BudgetExhausted", trioagent.batch.BudgetExhaustedError),
        (trioagent.batch, "PriceUnknown", trioagent.batch.PriceUnknownError),
    ],
)
def test_names_of_the_last_release_still_work_with_a_warning(module: ModuleType, old: str, new: object) -> None:
    with pytest.warns(DeprecationWarning, match=f"is now {module.__name__}.") as caught:
        assert getattr(module, old) is new
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", ["Dome", "BudgetExhausted", "PriceUnknown"])
def test_names_that_never_were_public_are_unknown(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(trioagent, name)


def test_import_is_light() -> None:
    """What costs import time and is not always needed is loaded when it is used (the time itself: see benchmarks)."""
    code = "import sys, trioagent; print(*sorted({'httpx', 'rich', 'click', 'ssl', 'sqlite3'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "httpx" not in done.stdout
    assert "rich" not in done.stdout
    assert "click" not in done.stdout
