"""``update_file`` and ``write_to_file``: what matches, what is said when nothing does, and that no byte is lost."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioagent.tools import _diff
from trioagent.tools._results import Refused
from trioagent.tools._text import NoteText, encode

from ..examples import examples
from .conftest import Memory

NOTE = "# Ada\n- city: Paris\n- job: engineer\n- likes: chess\n"


# update_file


def test_update_replaces_the_one_place(memory: Memory) -> None:
    memory.put("ada.md", NOTE)
    assert memory.update_file("ada", "- city: Paris", "- city: Berlin\n- since: 2024") is True
    assert memory.read_file("ada.md") == NOTE.replace("Paris", "Berlin\n- since: 2024")
    assert memory.update_file("ada.md", "\n- job: engineer", "") is True
    assert memory.read_file("ada.md") == "# Ada\n- city: Berlin\n- since: 2024\n- likes: chess\n"
    assert memory.update_file("ada.md", "# Ada", "# Ada") is True


@pytest.mark.parametrize(
    ("old", "words"),
    [
        ("- city: Pariss", ["not in ada.md", "most similar", "'- city: Paris'"]),
        ("- city:  Paris", ["only in white space", "'- city: Paris'"]),
        ("- city: Paris\r\n\n- job:\tengineer", ["only in white space", r"'- city: Paris\n- job: engineer'"]),
        ("- ", ["3 times", "lines 2, 3, 4", "more surrounding lines"]),
        ("", ["old_content is empty"]),
        ("zzzz", ["not in ada.md", "read_file('ada.md')"]),
        (None, ["old_content must be text"]),
    ],
)
def test_update_says_why_it_did_nothing(memory: Memory, old: str, words: list[str]) -> None:
    memory.put("ada.md", NOTE)
    answer = memory.update_file("ada.md", old, "x")
    assert not answer and all(word in answer for word in words), answer
    assert memory.read_file("ada.md") == NOTE


def test_update_of_an_empty_note(memory: Memory) -> None:
    memory.put("ada.md", "")
    assert memory.update_file("ada.md", "", "# Ada\n") is True
    assert memory.read_file("ada.md") == "# Ada\n"


def test_update_of_a_missing_note(memory: Memory) -> None:
    memory.put("entities/ada.md", NOTE)
    assert "Did you mean entities/ada.md" in memory.update_file("ada.md", "a", "b")


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        (b"a\r\nb\r\nc\r\n", "a\nb", "a\nx\nb", b"a\r\nx\r\nb\r\nc\r\n"),
        (b"a\r\nb\r\nc\r\n", "a\r\nb", "q", b"q\r\nc\r\n"),
        (b"a\r\nb\r\nc\nd\r\n", "b\nc\nd", "b\nc\ne", b"a\r\nb\r\nc\ne\r\n"),
        (b"\xef\xbb\xbf# T\nx\n", "# T", "# U", b"\xef\xbb\xbf# U\nx\n"),
        (b"caf\xe9\nx\n", "x", "y", b"caf\xe9\ny\n"),
        (b"caf\xe9\nx\n", "caf\ufffd\nx", "caf\ufffd\ny", b"caf\xe9\ny\n"),
        ("\ufffd real\n".encode(), "\ufffd real", "\ufffd r", "\ufffd r\n".encode()),
        (b"a\rb\r\n", "a\rb", "a\rc", b"a\rc\r\n"),
    ],
)
def test_update_keeps_what_it_does_not_change(memory: Memory, before: bytes, old: str, new: str, after: bytes) -> None:
    memory.put("n.md", before)
    assert memory.update_file("n.md", old, new) is True
    assert memory.bytes("n.md") == after


_pieces = st.lists(st.sampled_from([b"a", b"b", b" ", b"\n", b"\r\n", b"\xe9", "é\ufffd".encode()]), max_size=12)


@given(pieces=_pieces, start=st.integers(0, 12), end=st.integers(0, 12), new=st.text("ab \n", max_size=6))
def test_splice_changes_only_its_part(pieces: list[bytes], start: int, end: int, new: str) -> None:
    data = b"".join(pieces)
    note = NoteText(data)
    start, end = sorted((min(start, len(note.shown)), min(end, len(note.shown))))
    result = note.splice(start, end, new)
    assert NoteText(result).shown == note.shown[:start] + new + note.shown[end:]
    assert note.splice(start, end, note.shown[start:end]) == data
    assert encode(note.raw) == data


# write_to_file


def wrote(memory: Memory, before: str | bytes | None, diff: str) -> bytes:
    if before is not None:
        memory.put("n.md", before)
    assert memory.write_to_file("n.md", diff) is True, memory.write_to_file("n.md", diff)
    return memory.bytes("n.md")


@pytest.mark.parametrize(
    ("what", "diff"),
    [
        ("plain", "--- a/n.md\n+++ b/n.md\n@@ -1,3 +1,3 @@\n # Ada\n-- city: Paris\n+- city: Rome\n - job: engineer\n"),
        ("no headers", "@@ -1,3 +1,3 @@\n # Ada\n-- city: Paris\n+- city: Rome\n - job: engineer\n"),
        (
            "git",
            "diff --git a/n.md b/n.md\nindex 1a2b..3c4d 100644\n--- a/n.md\n+++ b/n.md\n@@ -2 +2 @@\n"
            "-- city: Paris\n+- city: Rome",
        ),
        ("wrong counts", "@@ -1,9 +1,1 @@\n # Ada\n-- city: Paris\n+- city: Rome\n"),
        ("counts too small", "@@ -1,1 +1,1 @@\n # Ada\n-- city: Paris\n+- city: Rome\n - job: engineer\n"),
        ("wrong line", "@@ -40,3 +40,3 @@\n # Ada\n-- city: Paris\n+- city: Rome\n - job: engineer\n"),
        ("no numbers", "@@ @@\n # Ada\n-- city: Paris\n+- city: Rome\n"),
        ("dots", "@@ ... @@\n-- city: Paris\n+- city: Rome\n"),
        ("no hunk header", "-- city: Paris\n+- city: Rome\n"),
        ("headers, no hunk header", "--- n.md\n+++ n.md\n-- city: Paris\n+- city: Rome\n"),
        ("fences", "```diff\n@@ -2 +2 @@\n-- city: Paris\n+- city: Rome\n```\n"),
        ("fences, blank lines", "\n```\n\n@@ -2 +2 @@\n-- city: Paris\n+- city: Rome\n```\n\n"),
        ("words before", "Here it is:\n@@ -2 +2 @@\n-- city: Paris\n+- city: Rome\n"),
        ("blanks at ends", "@@ -1,3 +1,3 @@  \n # Ada  \n-- city: Paris \n+- city: Rome\n - job: engineer\t\n"),
        ("context without its space", "@@ -1,3 +1,3 @@\n# Ada\n-- city: Paris\n+- city: Rome\n"),
        (
            "context that is not there",
            "@@ -1,3 +1,3 @@\n # Ada Lovelace\n-- city: Paris\n+- city: Rome\n - job: engineer\n",
        ),
        ("two lines of it", "@@ -1,4 +1,4 @@\n ## X\n # Ada L\n-- city: Paris\n+- city: Rome\n - job: engineer\n"),
        ("CRLF diff", "@@ -1,3 +1,3 @@\r\n # Ada\r\n-- city: Paris\r\n+- city: Rome\r\n - job: engineer\r\n"),
        ("blank lines after", "@@ -2 +2 @@\n-- city: Paris\n+- city: Rome\n\n\n"),
        ("section words", "@@ -2 +2 @@ # Ada\n-- city: Paris\n+- city: Rome\n"),
    ],
)
def test_diffs_as_models_write_them(memory: Memory, what: str, diff: str) -> None:
    assert wrote(memory, NOTE, diff).decode() == NOTE.replace("Paris", "Rome"), what


@pytest.mark.parametrize(
    ("before", "diff", "after"),
    [
        (None, "--- /dev/null\n+++ b/n.md\n@@ -0,0 +1,2 @@\n+# New\n+- a\n", b"# New\n- a\n"),
        (None, "@@ -0,0 +1 @@\n+only\n\\ No newline at end of file\n", b"only"),
        (None, "+# New\n+\n+- a", b"# New\n\n- a\n"),
        (b"", "@@ -0,0 +1 @@\n+x\n", b"x\n"),
        (b"a\n", "@@ -0,0 +1 @@\n+first\n", b"first\na\n"),
        (b"a\nb\n", "@@ -1,0 +2 @@\n+mid\n", b"a\nmid\nb\n"),
        (b"a\nb\n", "+last\n", b"a\nb\nlast\n"),
        (b"a\nb", "@@ -2 +2,2 @@\n b\n+c\n", b"a\nb\nc"),
        (b"a\nb", "@@ -2 +2 @@\n-b\n\\ No newline at end of file\n+b\n", b"a\nb\n"),
        (b"a\nb\n", "@@ -2 +2 @@\n-b\n+b\n\\ No newline at end of file\n", b"a\nb"),
        (b"a\r\nb\r\n", "@@ -1,2 +1,2 @@\n a\n-b\n+c\n", b"a\r\nc\r\n"),
        (b"a\r\nb\r\n", "@@ -1,2 +1,2 @@\r\n a\r\n-b\r\n+c\r\n", b"a\r\nc\r\n"),
        (b"\xef\xbb\xbfa\nb\n", "-b\n+c\n", b"\xef\xbb\xbfa\nc\n"),
        (b"caf\xe9\nb\n", "@@ -1,2 +1,2 @@\n caf\xef\xbf\xbd\n-b\n+c\n".encode("latin-1").decode(), b"caf\xe9\nc\n"),
        (b"a\n", "@@ -1 +0,0 @@\n-a\n", b""),
        (b"x\ny\nx\ny\n", "@@ -3,2 +3,2 @@\n x\n-y\n+z\n", b"x\ny\nx\nz\n"),
        (b"1\n2\n3\n4\n5\n6\n", "@@ -1 +1,2 @@\n 1\n+a\n@@ -5,2 +6 @@\n-5\n 6\n", b"1\na\n2\n3\n4\n6\n"),
        (b"1\n2\n3\n", "@@ @@\n-3\n+c\n@@ @@\n-1\n+a\n", b"a\n2\nc\n"),
        # Hunks that share lines of context, in any order and without numbers.
        (
            b"1\n2\n3\n4\n5\n",
            "@@ -1,4 +1,4 @@\n 1\n-2\n+two\n 3\n 4\n@@ -3,3 +3,3 @@\n 3\n-4\n+four\n 5\n",
            b"1\ntwo\n3\nfour\n5\n",
        ),
        (b"1\n2\n3\n", "@@ @@\n 1\n+a\n 2\n@@ @@\n 2\n+b\n 3\n", b"1\na\n2\nb\n3\n"),
        (b"1\n2\n3\n", "@@ @@\n 2\n+b\n 3\n@@ @@\n 1\n+a\n 2\n", b"1\na\n2\nb\n3\n"),
        (b"1\n2\n3\n", "@@ -1,2 +1,3 @@\n 1\n 2\n+a\n@@ -2,2 +3,3 @@\n 2\n+b\n 3\n", b"1\n2\na\nb\n3\n"),
        # Both line numbers are 2 too high: where the first hunk fits tells where the second one goes.
        (
            b"k\nx\nm\nx\nn\nx\n",
            "@@ -3 +3 @@\n-k\n+K\n@@ -6 +6 @@\n-x\n+X\n",
            b"K\nx\nm\nX\nn\nx\n",
        ),
        (b"a\n\nb\n", "@@ -1,3 +1,3 @@\n a\n\n-b\n+c\n", b"a\n\nc\n"),
        (b"-- x\ny\n", "@@ -1,2 +1,2 @@\n--- x\n+++ x\n y\n", b"++ x\ny\n"),
        (b"a\n", "--- a/n.md\n+++ b/n.md\n@@ -1 +1 @@\n-a\n+b\n", b"b\n"),
    ],
)
def test_exact_results(memory: Memory, before: bytes | None, diff: str, after: bytes) -> None:
    assert wrote(memory, before, diff) == after


@pytest.mark.parametrize(
    ("diff", "words"),
    [
        ("", "no lines that start with + or -"),
        ("just words", "no lines that start with + or -"),
        ("@@ -1 +1 @@\n # Ada\n", "no lines that start with + or -"),
        ("-- city: London\n+- city: Rome\n", "the note has no line '- city: London'"),
        ("@@ -1,2 +1,2 @@\n-- job: engineer\n-- city: Paris\n+x\n", "not together in this order"),
        ("@@ @@\n-same\n+x\n", "fits at 2 places (lines 5, 6)"),
        ("-- city: Paris\n+- city: Rome\n@@ @@\n-nope\n+x\n", "hunk 2 of 2 does not fit"),
        ("@@ @@\n-- city: Paris\n+x\n@@ @@\n-- city: Paris\n+y\n", "hunk 2 of 2 does not fit"),
        ("--- /dev/null\n+++ b/n.md\n@@ -0,0 +1 @@\n+x\n", "says that the note is new"),
        ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n--- a/y\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n", "several notes (x, y)"),
        ("-same\n+x\ud800\n@@ @@\n", "fits at 2 places"),
        ("-# Ada\n+x\ud800\n", "cannot be saved"),
        (None, "diff must be text"),
    ],
)
def test_a_diff_that_does_not_fit_changes_nothing(memory: Memory, diff: str, words: str) -> None:
    before = NOTE + "same\nsame\n"
    memory.put("n.md", before)
    answer = memory.write_to_file("n.md", diff)
    assert not answer and words in answer, answer
    assert memory.read_file("n.md") == before


def test_a_diff_for_a_missing_note_says_so(memory: Memory) -> None:
    assert "is empty or does not exist" in memory.write_to_file("n.md", "-a\n+b\n")
    assert memory.list_files() == []


_line = st.text(alphabet=st.sampled_from("ab -+@\\#\u2028\x0b\r`"), max_size=6).filter(
    lambda line: not line.endswith("\r")
)
_text = st.builds(
    lambda lines, bare: "\n".join(lines) + ("" if bare and lines and lines[-1] else "\n" * bool(lines)),
    st.lists(_line, max_size=12),
    st.booleans(),
)


def unified(before: str, after: str, context: int) -> str:
    """A correct unified diff, with the mark for a missing last line end that difflib leaves out."""

    def lines(text: str) -> list[str]:
        return [line + "\n" for line in text.split("\n")[:-1]] + [text.rpartition("\n")[2]] * (not text.endswith("\n"))

    old, new = ([line for line in lines(text) if line] for text in (before, after))
    made = difflib.unified_diff(old, new, "a/n.md", "b/n.md", n=context)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in made)


@settings(max_examples=examples(166), deadline=None)
@given(before=_text, after=_text, context=st.integers(0, 4), crlf=st.booleans())
def test_a_correct_diff_gives_exactly_the_new_text(before: str, after: str, context: int, crlf: bool) -> None:
    diff = unified(before, after, context)
    if not diff:
        return
    note = NoteText(before.replace("\n", "\r\n").encode() if crlf else before.encode())
    old = note.lines()
    plan, ends_bare = _diff.apply([text for text, _ in old], diff)
    texts = [old[item][0] if isinstance(item, int) else item for item in plan]
    if ends_bare is None:
        ends_bare = bool(old) and not old[-1][1]
    assert "\n".join(texts) + ("\n" if texts and not ends_bare else "") == after


@settings(max_examples=examples(33), deadline=None)
@given(before=st.lists(st.integers(0, 99).map(str), min_size=1, max_size=12, unique=True), data=st.data())
def test_hunks_that_share_context_apply(before: list[str], data: st.DataObject) -> None:
    """One hunk a changed line, each with all the context around it, as models write them."""
    changed = data.draw(st.lists(st.integers(0, len(before) - 1), min_size=1, max_size=4, unique=True))
    numbered, context = data.draw(st.booleans()), data.draw(st.integers(1, 3))
    after, diff = list(before), ""
    for at in changed:
        after[at] = f"new {before[at]}"
        first, last = max(0, at - context), min(len(before), at + context + 1)
        # No hunk has a line as context that another one removes.
        first = max([first, *(other + 1 for other in changed if other < at)])
        last = min([last, *(other for other in changed if other > at)])
        diff += f"@@ -{first + 1},{last - first} +{first + 1},{last - first} @@\n" if numbered else "@@ @@\n"
        for line in range(first, last):
            diff += f"-{before[line]}\n+{after[line]}\n" if line == at else f" {before[line]}\n"
    plan, _ = _diff.apply(before, diff)
    assert [before[item] if isinstance(item, int) else item for item in plan] == after


@settings(max_examples=examples(100), deadline=None)
@given(note=st.lists(_line, max_size=8), diff=st.text(alphabet="ab -+@\\\n,01`", max_size=60))
def test_any_text_is_applied_or_refused(note: list[str], diff: str) -> None:
    try:
        plan, _ = _diff.apply(note, diff)
    except Refused:
        return
    kept = [item for item in plan if isinstance(item, int)]
    assert len(set(kept)) == len(kept) and all(0 <= item < len(note) for item in kept)
