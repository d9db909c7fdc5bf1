"""Sections, blocks and front matter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent.tools._markdown import without_code
from trioagent.tools.links import block_text, front_matter, headings, section

NOTE = """---
title: x
---
# Ada
intro
## Job: now & then
at Acme
### Since
2020
```
## not a heading
```
## Job
#hashtag

Under
  lined
===
text
## **Bold** `code` ##
end
"""


def test_headings() -> None:
    assert [(h.line, h.level, h.text) for h in headings(NOTE)] == [
        (3, 1, "Ada"),
        (5, 2, "Job: now & then"),
        (7, 3, "Since"),
        (12, 2, "Job"),
        (15, 1, "Under lined"),
        (19, 2, "**Bold** `code`"),
    ]
    assert headings("- a\n---\n\n---\n") == []
    assert [h.text for h in headings("#\n# \n####### seven\n    # code")] == ["", ""]


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("Since", "### Since\n2020\n```\n## not a heading\n```"),
        ("since", "### Since\n2020\n```\n## not a heading\n```"),
        ("Ada#Since", "### Since\n2020\n```\n## not a heading\n```"),
        ("Job#Since", None),
        ("Job now then", "## Job: now & then\nat Acme\n### Since\n2020\n```\n## not a heading\n```"),
        ("job-now-then", "## Job: now & then\nat Acme\n### Since\n2020\n```\n## not a heading\n```"),
        ("Job", "## Job\n#hashtag"),
        ("Under lined", "Under\n  lined\n===\ntext\n## **Bold** `code` ##\nend"),
        ("Bold code", "## **Bold** `code` ##\nend"),
        ("not a heading", None),
        ("title: x", None),
        ("", None),
        ("#", None),
        ("&", None),
    ],
)
def test_sections(heading: str, expected: str | None) -> None:
    assert section(NOTE, heading) == expected


BLOCKS = """# T ^title
first line
second ^para

- one ^one
  more of one
    - below one
- two
  wrapped ^two
- three

| a | b |
|---|---|
| 1 | 2 |

^table

```
code ^incode

more
```
^code
last ^Last-1
x^not
"""


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("para", "first line\nsecond"),
        ("PARA", "first line\nsecond"),
        ("^para", "first line\nsecond"),
        ("title", "# T"),
        ("one", "- one\n  more of one\n    - below one"),
        ("two", "- two\n  wrapped"),
        ("table", "| a | b |\n|---|---|\n| 1 | 2 |"),
        ("incode", None),
        ("code", "```\ncode ^incode\n\nmore\n```"),
        ("not", None),
        ("nope", None),
        ("", None),
    ],
)
def test_blocks(block: str, expected: str | None) -> None:
    assert block_text(BLOCKS, block) == expected


@given(st.text(alphabet="#^-=`~%\n ab1.", max_size=60), st.text(alphabet="#^ab-", max_size=5))
def test_parts_of_any_text(text: str, name: str) -> None:
    assert len(without_code(text)) == len(text)
    for part in (section(text, name), block_text(text, name)):
        assert part is None or len(part) <= len(text)


@pytest.mark.parametrize(
    ("yaml", "values"),
    [
        ("name: Ada", {"name": "Ada"}),
        ("age: 36\nheight: 1.7\nphone: 0123", {"age": 36, "height": 1.7, "phone": "0123"}),
        ("a: true\nb: False\nc: null\nd: ~\ne:", {"a": True, "b": False, "c": None, "d": None, "e": None}),
        ("since: 2024-05-01", {"since": "2024-05-01"}),
        ("tags: [a, 'b, c', \"d\"]", {"tags": ["a", "b, c", "d"]}),
        ("tags: []", {"tags": []}),
        ("tags:\n- a\n- 2", {"tags": ["a", 2]}),
        ("tags:\n  - a\n  # not b\n  - c\n", {"tags": ["a", "c"]}),
        ("a: 'it''s' # why", {"a": "it's"}),
        ('a: "x\\ny \\"z\\" \\\\"', {"a": 'x\ny "z" \\'}),
        ("a: x # comment\nb: x#y", {"a": "x", "b": "x#y"}),
        ("url: http://a.b/c", {"url": "http://a.b/c"}),
        ("text: |\n  one\n  two\n\nb: 1", {"text": "one\ntwo", "b": 1}),
        ("text: >-\n  one\n  two", {"text": "one two"}),
        ("text: one\n  two", {"text": "one two"}),
        ('friend: "[[ada]]"', {"friend": "[[ada]]"}),
        ("'quoted key': 1", {"quoted key": 1}),
        ("a: {b: 1}", {"a": "{b: 1}"}),
        ("a:\n  b: 1", {"a": "b: 1"}),
        ("a:\n  - b: 1\n    c: 2\n  - d", {"a": "- b: 1\nc: 2\n- d"}),
        ('a:\n  - b: 1\n  - "c": d\n  - [e, f]', {"a": ["b: 1", '"c": d', "[e, f]"]}),
        ("a: [\n  b,\n  c\n]\nd: 1", {"a": ["b", "c"], "d": 1}),
        ("a: [[ada]]", {"a": "[[ada]]"}),
        ("a#b: 1\nc:d: 2\ne f: 3", {"a#b": 1, "c:d": 2, "e f": 3}),
        ("a: |2- # why\n   b\nc: 1", {"a": "b", "c": 1}),
        ("a: &x b\nc: *x\nd: !!str 1", {"a": "&x b", "c": "*x", "d": "!!str 1"}),
        ('a: "one\n  two"', {"a": "one two"}),
        ('"a \\" b": 1', {'a \\" b': 1}),
        ("{a: 1, b: 2}", {}),
        ("# only a comment\n", {}),
        ("", {}),
    ],
)
def test_front_matter_values(yaml: str, values: dict[str, object]) -> None:
    assert front_matter(f"---\n{yaml}\n---\nbody\n") == (values, "body\n", None)
    assert front_matter(f"\ufeff---\n{yaml}\n...\nbody\n".replace("\n", "\r\n"))[0] == values


@pytest.mark.parametrize(
    ("yaml", "values", "words"),
    [
        ("just words", {}, "line 2 of the front matter is no 'key: value': 'just words'"),
        ("a: 1\n]broken[\nb: 2", {"a": 1, "b": 2}, "line 3"),
        ("a: [1, 2", {"a": "[1, 2"}, "a list is not closed"),
        ("a: 'x", {"a": "'x"}, "a quoted text is not closed"),
        ("a: 'x' y", {"a": "'x' y"}, "not closed"),
        ("title: one: two", {"title": "one: two"}, "put it in quotes"),
        ("a: @b", {"a": "@b"}, "cannot begin with @"),
        ("a: 1\na: 2", {"a": 2}, "repeats 'a'"),
    ],
)
def test_broken_front_matter_is_named(yaml: str, values: dict[str, object], words: str) -> None:
    found, body, problem = front_matter(f"---\n{yaml}\n---\nbody")
    assert (found, body) == (values, "body") and problem is not None and words in problem


def test_without_front_matter() -> None:
    assert front_matter("# T\n---\na: 1\n---\n") == (None, "# T\n---\na: 1\n---\n", None)
    found, body, problem = front_matter("---\na: 1\n")
    assert found is None and body == "---\na: 1\n" and problem is not None and "not closed" in problem
    assert front_matter("") == (None, "", None)


@given(st.text(alphabet="-:[]{}'\"\\#|>\n ab1,~&*!", max_size=60))
def test_front_matter_never_raises(text: str) -> None:
    values, body, _ = front_matter(f"---\n{text}\n---\n{text}")
    assert values is not None and body.endswith(text.rpartition("---\n")[2])
