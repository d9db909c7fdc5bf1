"""Blocks in the monty tier: the tools' contract, what the subset runs, and what a model is told of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trioagent.sandbox import BlockResult

from .background import Background
from .family_blocks import FAMILY
from .library_blocks import LIBRARY
from .monty_tier import OUTSIDE_THE_SUBSET, MontyBackground
from .simple_blocks import SIMPLE, USER, Block

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def background() -> Iterator[Background]:
    with MontyBackground() as background:
        yield background


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "user.md").write_text(USER)
    return tmp_path


@pytest.mark.parametrize("block", [*SIMPLE, *LIBRARY, *FAMILY], ids=lambda block: block.name)
def test_runs_as_elsewhere_or_says_what_is_missing(background: Background, notes: Path, block: Block) -> None:
    for name, text in block.before.items():
        (notes / name).parent.mkdir(exist_ok=True)
        (notes / name).write_text(text)
    before = {path: path.read_bytes() for path in notes.rglob("*") if path.is_file()}
    result = background.run(block.code, notes)
    if block.name in OUTSIDE_THE_SUBSET:
        assert result.error.startswith(OUTSIDE_THE_SUBSET[block.name])
        assert result.error.endswith("Nothing was saved.")
        assert {path: path.read_bytes() for path in notes.rglob("*") if path.is_file()} == before
        return
    assert result.error == ""
    assert {name: result.locals.get(name) for name in block.values} == block.values
    assert {name: (notes / name).read_text() for name in block.notes} == block.notes


def test_every_tool(background: Background, notes: Path) -> None:
    result = background.run(
        """
made = create_file("entities/ada", "# Ada\\n- city: Paris\\n- knows: [[user]]\\n")
changed = update_file("entities/ada.md", "Paris", "Berlin")
patched = write_to_file("entities/ada", "@@ -3 +3,2 @@\\n - knows: [[user]]\\n+- age: 36\\n")
text = read_file("entities/ada.md")
there, folder, no = check_if_file_exists("user"), check_if_dir_exists("entities"), check_if_file_exists("nobody")
dirs = create_dir("places")
files = list_files()
size = get_size("entities/ada.md") == len(text)
linked = go_to_link("[[ada]]") == text
found = search("berlin")
back = backlinks("user.md")
gone = delete_file("user.md")
left = list_files()
""",
        notes,
    )
    assert result.error == ""
    assert result.locals == {
        "made": "True",
        "changed": "True",
        "patched": "True",
        "text": repr("# Ada\n- city: Berlin\n- knows: [[user]]\n- age: 36\n"),
        "there": "True",
        "folder": "True",
        "no": "False",
        "dirs": "True",
        "files": "['entities/ada.md', 'user.md']",
        "size": "True",
        "linked": "True",
        "found": "['entities/ada.md:2: - city: Berlin']",
        "back": "['entities/ada.md']",
        "gone": "True",
        "left": "['entities/ada.md']",
    }
    assert result.saved
    assert not (notes / "user.md").exists()
    assert (notes / "places").is_dir()


def test_error_texts_count_as_false(background: Background, notes: Path) -> None:
    result = background.run(
        """
bad = update_file("user.md", "no such text", "x")
a = 1 if bad else 2
b = read_file("nobody") or "nothing"
c = not create_file("../x")
d = bool(delete_file("nobody"))
e = [name for name in ["user", "nobody"] if read_file(name)]
f = "yes" if read_file("user") and read_file("user.md") else "no"
if not (found := go_to_link("[[nobody]]")):
    g = found[:6]
own = "Error: this is a text of the block's own"
h = 1 if own else 2
saved = create_file("copy", read_file("nobody") + "!")
""",
        notes,
    )
    assert result.error == ""
    values = result.locals
    assert [values[name] for name in "abcdefgh"] == [
        "2", "'nothing'", "True", "False", "['user']", "'yes'", "'Error:'", "1"
    ]  # fmt: skip
    assert values["saved"][1:].startswith("Error: content is the error text of another tool")
    assert not (notes / "copy.md").exists()


def test_a_tool_that_finds_nothing_says_why(background: Background, notes: Path) -> None:
    result = background.run("files = list_files('nowhere')\nn = len(files)", notes)
    assert result.locals == {"files": "[]", "n": "0"}
    assert result.printed.startswith("list_files(): Error: the folder nowhere does not exist")


def test_links_of_a_memory_are_not_followed(background: Background, notes: Path, tmp_path: Path) -> None:
    secret = tmp_path.parent / f"{tmp_path.name}-secret"
    secret.mkdir()
    (secret / "key.md").write_text("CANARY")
    (notes / "link.md").symlink_to(secret / "key.md")
    (notes / "folder").symlink_to(secret)
    for way in (
        "read_file('link.md')",
        "read_file('folder/key.md')",
        "open('link.md').read()",
        "open('folder/key.md').read()",
        "search('canary')",
        "get_size('folder')",
        "__import__('os').listdir('folder')",
    ):
        assert "CANARY" not in repr(background.run(f"t = {way}", notes))
    for way in ("open('link.md', 'w').write('x')", "open('folder/key.md', 'w').write('x')", "create_file('link','x')"):
        assert "CANARY" not in repr(background.run(f"t = {way}", notes))
    assert (secret / "key.md").read_text() == "CANARY"


def test_its_own_book_keeping_is_hidden(background: Background, notes: Path) -> None:
    result = background.run(
        "import os\na = os.listdir('.')\nb = os.path.exists('.trioagent')\nt = create_file('.trioagent/x', 'y')", notes
    )
    assert result.locals["b"] == "False"
    assert ".trioagent is no part of the notes" in result.locals["t"]
    assert "PermissionError" in background.run("open('.trioagent', 'w').write('x')", notes).error


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("x = 1\n{}['y']", "KeyError: 'y' (line 2: {}['y'])"),
        ("def f(n):\n    return 1 / n\nx = 3\nf(0)", "ZeroDivisionError: division by zero (line 2: return 1 / n)"),
        ("x = (", "SyntaxError: unexpected EOF while parsing (line 1: x = ()"),
        ("raise ValueError('no')", "ValueError: no (line 1: raise ValueError('no'))"),
        ("missing", "NameError: name 'missing' is not defined (line 1: missing)"),
        ("open('nobody.md')", "FileNotFoundError: [Errno 2] No such file or directory: '/nobody.md'"),
        ("raise SystemExit('enough')", "SystemExit: enough"),
        ("exit()", ""),
        ("exit(0)", ""),
        ("exit(3)", "SystemExit: 3"),
        ("import os\nlocals()", ""),
        ("class A:\n    pass\na = A()\nlocals()", ""),
    ],
)
def test_errors_name_the_line(background: Background, notes: Path, code: str, error: str) -> None:
    result = background.run(code, notes)
    assert result.error.startswith(error) if error else result.error == ""


def test_variables_are_shown_as_text_within_bounds(background: Background, notes: Path) -> None:
    result: BlockResult = background.run(
        """
import os
from pathlib import Path
class Person:
    def __init__(self, name): self.name = name
    def __repr__(self): return f"Person({self.name!r})"
class Odd:
    def __repr__(self): raise ValueError("no")
class Plain: pass
def helper(): return 1
ada, odd, plain = Person("Ada"), Odd(), Plain()
text, items, raw = "x" * 30000, list(range(20000)), b"y" * 30000
alias, _, __private = read_file, 1, 2
nested = {"a": [1, (2.5, None)], "b": {3}}
me = [1]
me.append(me)
""",
        notes,
    )
    assert result.error == ""
    values = result.locals
    assert set(values) == {"ada", "odd", "plain", "text", "items", "raw", "nested", "me"}
    assert values["ada"] == "Person('Ada')"
    assert values["odd"] == "<Odd: its repr raised ValueError>"
    assert values["plain"] == "<Plain object>"
    assert values["nested"] == "{'a': [1, (2.5, None)], 'b': {3}}"
    assert values["text"].endswith("… (30000 characters in all; for more, assign a part such as [19999:39998])")
    assert values["raw"].endswith("… (30000 bytes in all; for more, assign a part such as [19998:39996])")
    assert len(values["items"]) < 20_100
