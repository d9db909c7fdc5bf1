"""Names and answers that memory-agent models were trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
