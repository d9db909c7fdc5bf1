"""Use everything once before the keepers are forked: what is imported late could not be read any more."""

from __future__ import annotations

import importlib
import traceback

from ....tools import make_tools
from .. import values
from . import files
from .changes import collect
from .conditions import with_conditions
from .view import View

# What Monty's client imports when a value or an exception of such a kind first passes through it.
CLIENT = """
binascii collections.abc contextvars csv dataclasses datetime decimal enum inspect io json pathlib re tomllib types uuid
zoneinfo
""".split()
BLOCK = """
if not check_if_file_exists("a.md") and read_file("b.md"):
    x = [y for y in list_files() if y] or None
"""


def warm_up() -> None:
    """Call each tool on an empty view, and go the other ways of a block as far as they need no worker."""
    for name in CLIENT:
        importlib.import_module(name)
    view = View(None, file_bytes=1 << 20, view_bytes=1 << 20, view_files=100)
    tools = make_tools(view, lambda path: None)
    for name, arguments in (
        ("create_file", ("entities/ada.md", "---\ntags: [a]\n---\n# Ada\n- sister: [[grace#Past|her]] ^block\n")),
        ("create_file", ("grace.md", "# Grace\n## Past\nwords, words\n- [[entities/ada]]\n")),
        ("update_file", ("grace.md", "words,", "more words,")),
        ("update_file", ("grace.md", "absent words here", "x")),
        ("write_to_file", ("grace.md", "@@ -1,2 +1,2 @@\n # Grace\n-## Past\n+## Then\n")),
        ("write_to_file", ("grace.md", "no diff")),
        ("read_file", ("grace",)),
        ("read_file", ("missing",)),
        ("check_if_file_exists", ("grace",)),
        ("check_if_dir_exists", ("entities",)),
        ("create_dir", ("places/far",)),
        ("list_files", ()),
        ("get_size", ()),
        ("go_to_link", ("[[ada]]",)),
        ("go_to_link", ("[[adda]]",)),
        ("search", ("more words",)),
        ("backlinks", ("entities/ada",)),
        ("delete_file", ("grace.md",)),
    ):
        tools[name](*arguments)
    calls = files.Files(view, lambda path: None)
    calls(name="Path.read_text", args=("/entities/ada.md",), kwargs={})
    calls(name="Path.scan", args=("/",), kwargs={})
    collect(view)
    with_conditions(BLOCK)
    try:
        compile("x = (", values.BLOCK, "exec")
    except SyntaxError as error:
        values.error_text(error, "x = (")
        traceback.format_exception_only(error)
