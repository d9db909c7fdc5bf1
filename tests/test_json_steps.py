"""JSON in steps: the same values as `json` gives, whatever is large in the text, and no step above the bound."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioagent import _json_steps
from trioagent._json_steps import STEP, StepBounds, StepDecoder, decode_steps, text_steps
from trioagent._steps import STEP_BYTES, STEP_NAMES, Steps, run_all_steps, run_steps

from .examples import examples

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
# Pieces of which texts are made that are no JSON, or nearly.
PIECES = st.sampled_from(
    (
        *(
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            '"',
            '"a"',
            "\\",
            "\\u",
            "\\ud83d\\ude00",
            "\\ud83d",
            "1",
            "-",
            "0",
            ".5",
            "e9",
        ),
        *("true", "null", "NaN", " ", "\n", "\t", "é", "\u20ac", "\ufeff", "\x00", '""', "[]", "1.5e300"),
    )
)


def both(text: str, bounds: StepBounds) -> tuple[object, object]:
    """What `json` makes of *text*, and what the steps do; the word "refused" where they raise ValueError."""

    def plain() -> object:
        return run_all_steps(StepDecoder(text, bounds=bounds).document())

    def loaded() -> object:
        return json.loads(
            text,
            object_pairs_hook=_json_steps._unique_keys,
            parse_constant=_json_steps._refuse_constant,
            parse_float=_json_steps._finite,
        )

    found: list[object] = []
    for function in (loaded, plain):
        try:
            found.append(function())
        except ValueError:
            found.append("refused")
    return found[0], found[1]


# Characters: no fewer than two pairs of escape sequences have.
BOUNDS = [*(StepBounds(values, chars, (27, 29)) for values, chars in ((1, 30), (2, 30), (5, 64))), StepBounds()]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_any_value(bounds: StepBounds) -> None:
    @settings(max_examples=examples(30), deadline=None)
    @given(VALUES, st.booleans(), st.sampled_from([None, 2]))
    def check(value: Any, ascii_only: bool, indent: int | None) -> None:
        expected, found = both(json.dumps(value, ensure_ascii=ascii_only, indent=indent), bounds)
        assert found == expected

    check()


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_any_text(bounds: StepBounds) -> None:
    @settings(max_examples=examples(50), deadline=None)
    @given(st.lists(PIECES, max_size=40).map("".join))
    def check(text: str) -> None:
        for each in (text, f'["{text}"]', f"[{text}]"):
            expected, found = both(each, bounds)
            assert found == expected

    check()


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("unit", ["\\\\", '\\"', "\\ud83d\\ude00", "\\u20ac", "\\ud83d", "x\\n", "é", "\\\\\\\\u"])
def test_a_string_of_escapes_is_cut_between_them(unit: str, bounds: StepBounds) -> None:
    for count in range(60):
        for before in ("", "x", "xx"):
            text = json.dumps(before)[:-1] + unit * count + '"'
            expected, found = both(text, bounds)
            assert found == expected


KINDS: dict[str, bytes] = {
    "numbers": b"[" + b",".join([b"1"] * 199_900) + b"]",
    "empty lists": b"[" + b",".join([b"[]"] * 199_900) + b"]",
    "keys": b"{" + b",".join(b'"%x":1' % i for i in range(95_000)) + b"}",
    "long numbers": b"[" + b",".join([b"9" * 4300] * 240) + b"]",
    "escapes": b'["' + b"\\u20ac" * 170_000 + b'"]',
    "strings with escapes": b"[" + b",".join([b'"\\n"'] * 90_000) + b"]",
    "a long string": b'["' + b"x" * 1_000_000 + b'"]',
    "commas in a string": b'["' + b"," * 1_000_000 + b'"]',
    "white space": b"[" + b" " * 1_000_000 + b"]",
    "characters of three bytes": '["{}"]'.format("\u20ac" * 300_000).encode(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_takes_more_than_the_bound(kind: str) -> None:
    """The strings and numbers of one step, counted where they are made."""
    body, size, decoder = KINDS[kind], 0, StepDecoder("")

    def scanned(text: str, at: int, strict: bool) -> tuple[str, int]:
        nonlocal size
        found = json.decoder.scanstring(text, at, strict)  # type: ignore[attr-defined]
        size += found[1] - at
        return found  # type: ignore[no-any-return]

    def decoded_in_steps(body: bytes) -> Steps[object]:
        nonlocal decoder
        decoder = StepDecoder((yield from text_steps(body)), scan=scanned)
        return (yield from decoder.document())

    steps = decoded_in_steps(body)
    worst_values = worst_size = rounds = 0
    while True:
        values, size = decoder.values, 0
        try:
            next(steps)
        except StopIteration as end:
            decoded = end.value
            break
        worst_values, worst_size = max(worst_values, decoder.values - values), max(worst_size, size)
        rounds += 1
    assert decoded == json.loads(body) == run_all_steps(decode_steps(body))
    assert worst_values <= STEP_NAMES + 2
    assert worst_size <= 2 * STEP_BYTES + sum(STEP.pieces) + 3
    assert rounds >= len(body) // STEP_BYTES


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 101 + b"]" * 101,
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b"[" + b"1," * 300_000 + b"1]",
        b'{"a":1,"a":2}',
        b"1" * 1_000_000 + b".5e-1000000",
        b"1e999",
        b"NaN",
        b"\xff",
        b"\x80" * 1_000_000,
        b'"' + b"x" * 1_000_000,
        b'"' + b"\\" * 999_999,
        b"[] []",
        b"",
        b" " * 600_000,
    ],
    ids=lambda body: f"{body[:12]!r} of {len(body)}",
)
def test_what_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        run_all_steps(decode_steps(body, max_values=200_000))


def test_the_deepest_that_is_taken() -> None:
    for filler in (b"", b"1"):
        deepest = b"[" * 100 + filler + b"]" * 100
        assert run_all_steps(decode_steps(deepest)) == json.loads(deepest)
    large = b"[" * 100 + b"1," * 2000 + b"1" + b"]" * 100
    assert run_all_steps(decode_steps(large)) == json.loads(large)


@pytest.mark.parametrize("filler", ["", "," + "1," * 2000 + "1"])
def test_lone_surrogates(filler: str) -> None:
    text = f'["\\ud800"{filler}]'
    assert run_all_steps(decode_steps(text))[0] == "\ud800"
    with pytest.raises(UnicodeEncodeError):
        run_all_steps(decode_steps(text, surrogates=False))


async def test_a_small_text_is_one_step_and_no_checkpoint() -> None:
    steps = decode_steps(b'{"a": [1, 2, "x"]}')
    assert await run_steps(steps) == {"a": [1, 2, "x"]}


def test_not_strict() -> None:
    """What servers send that is no JSON, small and large: the same as `json` makes of it."""
    for filler in ("", ", " + "1," * 2000 + "1"):
        text = f'[{{"a": 1, "a": 2}}, Infinity, -Infinity, 1e999{filler}]'
        assert run_all_steps(decode_steps(text, strict=False)) == json.loads(text)
        with pytest.raises(ValueError, match=r"."):
            run_all_steps(decode_steps(text))
        number = run_all_steps(decode_steps(f"[NaN{filler}]", strict=False))[0]
        assert math.isnan(number)
