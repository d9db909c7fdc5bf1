"""What is withheld is found in every spelling that a result or a reply may have."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Callable

import pytest

from trioagent._errors import InvalidInputError
from trioagent._redaction import REPLACEMENT, Redactor

TEXT = Redactor([("name", "José Pérez-Ruiz")])


@pytest.mark.parametrize(
    "text",
    [
        "José Pérez-Ruiz",
        "JOSÉ PÉREZ-RUIZ",
        "Jose Perez-Ruiz",
        "Jose\u0301 Pe\u0301rez-Ruiz",
        "José   Pérez-Ruiz",
        "José\nPérez-Ruiz",
        "José\u00a0Pérez-Ruiz",
        "Jo\u200bsé Pé\u00adrez-Ruiz",
        repr("José\nPérez-Ruiz"),
        repr(repr("José\nPérez-Ruiz")),
        ascii("José Pérez-Ruiz"),
        json.dumps("José Pérez-Ruiz"),
        repr(list("José Pérez-Ruiz")),
        "J-o-s-é P_é_r_e_z R.u.i.z",
        "ziuR-zeréP ésoJ",
        "ＪＯＳＥ Pérez-Ruiz",
        "José Pérez-Ruiz".encode().hex(),
        *(base64.b64encode(b"x" * shift + "José Pérez-Ruiz".encode() + b"y").decode() for shift in range(3)),
    ],
)
def test_a_text_in_other_spellings(text: str) -> None:
    shown, found = TEXT.redact(f"It is {text} here.")
    assert REPLACEMENT in shown and "rez" not in shown.casefold() and found == {"name": 1}
    assert shown.startswith("It is ") and shown.endswith(" here.")


def test_spellings_of_spellings() -> None:
    """A block may put one spelling on top of the other."""
    ways: list[Callable[[str], str]] = [
        repr,
        ascii,
        str.upper,
        lambda text: str(list(text)),
        lambda text: "\u200b".join(text),
        lambda text: text[::-1],
        lambda text: text.replace(" ", "\n"),
    ]
    redactor = Redactor([("name", "Zephyr Quill-77")])
    for first, second, third in itertools.product(ways, repeat=3):
        shown = redactor.redact(f"It is {third(second(first('Zephyr Quill-77')))}.")[0].lower()
        letters = "".join(filter(str.isalnum, shown))
        assert "zephyr" not in letters and "quill" not in letters and "lliuq" not in letters, shown


def test_what_is_not_withheld_stays() -> None:
    for text in ("", "José Ruiz", "C:\\new\\table", "naïve ｗide", "a\u200bb"):
        assert TEXT.redact(text) == (text, {})
    assert Redactor([]).redact("José Pérez-Ruiz") == ("José Pérez-Ruiz", {})
    assert not Redactor([]) and TEXT


def test_regular_expressions_see_the_text_and_what_its_escapes_mean() -> None:
    redactor = Redactor([("phone", re.compile(r"\d{3}-\d{4}")), ("lines", re.compile(r"top\nsecret"))])
    assert redactor.redact("555-1234 and 555\u200b-1234") == ("[withheld] and [withheld]", {"phone": 2})
    assert redactor.redact(repr("top\nsecret")) == ("'[withheld]'", {"lines": 1})
    assert redactor.redact(repr({"a": "555\\u002d1234"}))[0] == "{'a': '[withheld]'}"


def test_functions_see_what_the_others_left() -> None:
    redactor = Redactor([("up", str.upper), ("word", "secret")], replacement="…")
    assert redactor.redact("a secret") == ("A …", {"up": 1, "word": 1})
    with pytest.raises(InvalidInputError, match="up"):
        Redactor([("up", lambda text: None)]).redact("x")  # type: ignore[list-item,return-value]


def test_what_overlaps_is_taken_out_once() -> None:
    redactor = Redactor([("a", "one two"), ("b", "two three"), ("c", re.compile(r"x*"))])
    assert redactor.redact("zero one two three four") == ("zero [withheld] four", {"a": 1, "b": 1})


def test_the_end_of_what_was_cut_is_taken_out() -> None:
    redactor = Redactor([("word", "hunter2hunter2")])
    shown, found = redactor.redact("'" + "a" * 1000 + "hunter2hun… (30000 characters in all)")
    assert "hunter" not in shown and shown.endswith(f"{REPLACEMENT}… (30000 characters in all)") and not found
    assert shown.startswith("'" + "a" * 700)
    assert redactor.redact("I think hunt", cut=True)[0] == REPLACEMENT
    note = "… (30000 characters in all; for more, assign a part such as [20000:40000])"
    assert redactor.redact(f"'{'a' * 1000}hunter2hun{note}")[0].endswith(REPLACEMENT + note)


def test_a_text_of_a_million_characters() -> None:
    text = ("lorem ipsum \\n dolor é " * 50_000)[:1_000_000]
    assert TEXT.redact(text) == (text, {})
