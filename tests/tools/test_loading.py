"""The package loads by path in a bare interpreter: stdlib only, nothing of trioagent, nothing imported later."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import trioagent.tools
from trioagent.tools import NoResults, ToolError, make_tools, quiet

PACKAGE = Path(trioagent.tools.__file__).parent

CHILD = """
import importlib.util, os, sys
package, root = sys.argv[1:]
init = package + "/__init__.py"
spec = importlib.util.spec_from_file_location("_private", init, submodule_search_locations=[package])
module = importlib.util.module_from_spec(spec)
sys.modules["_private"] = module
spec.loader.exec_module(module)
loaded = set(sys.modules)
sys.meta_path.clear()
sys.path_hooks.clear()
seen = module.SeenLog()
tools = module.make_tools(root, seen)
assert tools["create_file"]("entities/ada", "# Ada\\n- city: Zürich\\n") is True
assert tools["update_file"]("entities/ada", "Zürich", "Bern") is True
assert tools["write_to_file"]("entities/ada", "-- city: Bern\\n+- city: [[bern]]") is True
assert tools["search"]("city") == ["entities/ada.md:2: - city: [[bern]]"]
assert not tools["go_to_link"]("[[bern]]") and tools["go_to_link"]("[[ada#Ada]]")
assert not tools["read_file"]("entities/adda.md") and not tools["read_file"]("caf\\u00e9")
assert tools["backlinks"]("ada") == []
assert tools["list_files"]() == ["entities/ada.md"] and tools["get_size"]() > 0
assert tools["delete_file"]("entities/ada.md") is True
assert set(sys.modules) == loaded, set(sys.modules) - loaded
outside = [n for n in loaded if n.split(".")[0] not in sys.stdlib_module_names | {"_private", "__main__"}]
assert not outside, outside
assert not any(n.split(".")[0] in ("trio", "trioagent", "attr", "httpx") for n in sys.modules)
print("fine", len(seen.reads) > 0)
"""


@pytest.mark.real
def test_loads_by_path_and_imports_nothing_later(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", CHILD, str(PACKAGE), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine True\n", "")


def test_imports_are_relative_or_stdlib_and_at_the_top() -> None:
    for file in PACKAGE.glob("*.py"):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            else:
                continue
            assert node in tree.body, f"{file.name}:{node.lineno} imports late"
            assert all(name.split(".")[0] in sys.stdlib_module_names for name in names), file.name


def test_opens_by_tools_are_quiet(tmp_path: Path) -> None:
    """An audit hook that looks at ``quiet.depth`` sees the block's own opens only."""
    loud: list[object] = []
    watching = True

    def hook(event: str, args: tuple[object, ...]) -> None:
        if watching and event == "open" and quiet.depth == 0:
            loud.append(args[0])

    sys.addaudithook(hook)
    tools = make_tools(str(tmp_path))
    tools["create_file"]("a.md", "x [[b]]")
    for name, *arguments in (
        ("read_file", "a"),
        ("search", "x"),
        ("backlinks", "a"),
        ("go_to_link", "b"),
        ("list_files",),
        ("get_size",),
        ("update_file", "a", "x", "y"),
        ("read_file", "nope"),
        ("read_file", None),
    ):
        tools[name](*arguments)
    assert loud == [] and quiet.depth == 0
    (tmp_path / "a.md").read_text()
    watching = False
    assert len(loud) == 1


def test_error_texts() -> None:
    error = ToolError("Error: no")
    assert not error and error == "Error: no" and repr(error) == "'Error: no'" and f"{error}" == "Error: no"
    assert isinstance(error + " more", ToolError)
    nothing: object = NoResults("Error: no")
    assert not nothing and nothing == [] and repr(nothing) == "[]  # Error: no" and str(nothing) == repr(nothing)


def test_every_tool_is_in_the_table_and_documented() -> None:
    table = trioagent.tools.__doc__ or ""
    for name, tool in make_tools().items():
        assert f"``{name}(" in table
        assert tool.__doc__ and tool.__name__ == name
