"""Names and answers that memory-agent models were trained on."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from trioagent.tools import ToolError, make_tools


def test_parameters_have_the_names_of_training_too(tmp_path: Path) -> None:
    (tmp_path / "user.md").write_text("# Ada")
    tools: Any = make_tools(str(tmp_path))
    assert tools["get_size"](file_or_dir_path="user.md") == tools["get_size"]("user.md") == 5
    assert tools["go_to_link"](link_string="[[user]]") == tools["go_to_link"]("[[user]]") == "# Ada"


def test_a_failure_equals_false_and_its_own_text(tmp_path: Path) -> None:
    tools: Any = make_tools(str(tmp_path))
    failed = tools["update_file"]("user.md", "a", "b")
    assert isinstance(failed, ToolError)
    assert failed == False  # noqa: E712 - as models write it
    assert failed != True  # noqa: E712
    assert failed == str(failed)
    assert failed != "other"
    assert hash(failed) == hash(str(failed))


@pytest.fixture
def tools(tmp_path: Path) -> Any:
    for name in ("user.md", "entities/ada.md", "entities/renew.md", "work/2025/plan.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n")
    return make_tools(str(tmp_path))


def test_a_listing_is_a_list_and_the_text_of_a_tree(tools: Any) -> None:
    files = tools["list_files"]()
    assert files == ["entities/ada.md", "entities/renew.md", "user.md", "work/2025/plan.md"]
    assert repr(files) == repr(list(files))
    assert files.split("\n") == [
        "./", "├── entities/", "│   ├── ada.md", "│   └── renew.md", "├── user.md", "└── work/", "    └── 2025/",
        "        └── plan.md",
    ]  # fmt: skip
    assert files + "!" == files.text + "!"
    assert "Files:\n" + files == "Files:\n" + files.text
    more = ["b"]
    assert files + more == [*files, "b"]
    assert pickle.loads(pickle.dumps(files)) == copy.copy(files) == files
    assert json.loads(json.dumps(files)) == files
    assert not hasattr(files, "no_such_method")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("user.md", True), ("ada.md", True), ("2025/plan.md", True), ("entities/", True), ("ada", True), ("new", True),
        ("new.md", False), ("da.md", False), ("bob", False), ("", False), (5, False),
    ],
)  # fmt: skip
def test_what_is_in_a_listing(tools: Any, text: object, found: bool) -> None:
    assert (text in tools["list_files"]()) is found


def test_a_listing_that_failed_is_the_text_of_its_error(tools: Any) -> None:
    failed = tools["list_files"]("nowhere")
    assert failed == [] and "nowhere" not in failed
    assert failed.startswith("Error: the folder nowhere does not exist")


def test_the_text_of_an_empty_memory(tmp_path: Path) -> None:
    listing: Any = make_tools(str(tmp_path))["list_files"]()
    assert listing.text == "./"


def test_a_folder_said_twice_means_the_one_note(tools: Any, tmp_path: Path) -> None:
    for path in tools["list_files"]("entities"):
        assert tools["read_file"](f"entities/{path}") == f"# {path}\n"
    assert tools["check_if_file_exists"]("work/2025/work/2025/plan") is True
    assert tools["update_file"]("entities/entities/ada.md", "# ", "## ") is True
    assert (tmp_path / "entities/ada.md").read_text() == "## entities/ada.md\n"
    refused = tools["create_file"]("entities/entities/ada.md", "x")
    assert refused == False and "'entities/ada.md' exists" in refused  # noqa: E712
    assert tools["create_file"]("entities/entities/new.md", "x") is True
    assert tools["check_if_file_exists"]("entities/entities/ada.md") is False
    assert tools["create_file"]("entities/entities/ada.md", "x") is True


def test_errors_begin_as_models_were_taught(tools: Any) -> None:
    assert tools["read_file"]("entities/bob.md").startswith("Error: File 'entities/bob.md' does not exist")
    assert tools["update_file"]("nobody.md", "a", "b").startswith("Error: File 'nobody.md' does not exist")
    assert tools["update_file"]("user.md", "zz", "b").startswith("Error: Could not find the specified content in the")
    assert tools["go_to_link"]("[[bob]]").startswith("Error: File 'bob' not found")
    assert tools["read_file"]("entities").startswith("Error: 'entities' is not a file")
