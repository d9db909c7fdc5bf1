"""A fuzzer of everything that reads bytes from elsewhere: seeded, so that a failure can be had again.

A target says what good input looks like, and judges one input: it may raise an AssertionError if what came of it is
wrong; the errors that are meant for bad input it must catch itself. Anything else that escapes is a finding.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs

_TOKENS = [
    b'"', b"{", b"}", b"[", b"]", b":", b",", b"\\", b"\\ud800", b"\\udfff", b"\\u0000", b"null", b"true", b"NaN",
    b"-Infinity", b"1e999", b"-1", b"0", b"18446744073709551616", b"9" * 400, b"9" * 5000, b"0." + b"1" * 4000, b"\0",
    b"\r", b"\n", b"\r\n", b"\n\n", b"data:", b"data: ", b"event:", b"id:", b":", b"[DONE]", b"\xef\xbb\xbf", b"\xff",
    b"\xed\xa0\x80", b"\xf0\x9f\x92\xa9", b"\xff\xff\xff\xff", b"\xffDIE", b"\0\0\0\0", b"\x1b[2J", b"../", b"/", b".",
    b"..", b".trioagent", b"<think>", b"</think>", b"<python>", b"</python>", b"<reply>", b"</reply>", b"```", b"'''",
    b"[" * 200, b'{"a":' * 200, b"[" * 30_000, b'{"a":' * 3000, b"__proto__", b"\xe2\x80\xae", b"a" * 300,
]  # fmt: skip
_VALUES: list[Any] = [
    None, True, False, 0, -1, 1.5, 2**63, -(2**64), 10**400, float("inf"), float("nan"), "", "x", "\ud800", "\0", "..",
    "../x", "/", ".trioagent/x", "a/" * 3000, "x" * 300, "\x1b[2J", [], {}, [[]], {"": None}, [None] * 50, ["a"], "=",
    {"error": "x"}, {"message": {"message": {}}}, "503", "99999", "٣٠٣", 503, [1, 2, 3], ["1", 2, 3], "eA==", "e",
]  # fmt: skip


@attrs.frozen
class Target:
    """One reader of bytes.

    Attributes:
        seeds: good inputs, or nearly.
        judge: takes one input, and a source of chance for what it decides itself (where to split it).
    """

    name: str
    seeds: Sequence[bytes]
    judge: Callable[[bytes, random.Random], None]


class Finding(AssertionError):
    """An input that something could not take.

    Attributes:
        data: the input.
    """

    def __init__(self, target: str, seed: int, number: int, data: bytes) -> None:
        super().__init__(target, seed, number, data)
        self.data = data

    def __str__(self) -> str:
        target, seed, number, data = self.args
        return f"target {target}, seed {seed}, case {number}: {data[:2000]!r} ({len(data)} bytes)"


def run(target: Target, *, seed: int, cases: int | None = None, seconds: float | None = None) -> int:
    """Judge so many cases, or for so long; how many there were.

    Raises:
        Finding: with the error as its cause.
    """
    number, end = 0, time.monotonic() + (seconds or 0)
    for data, chance in inputs(target.seeds, seed):
        if number == cases or (seconds is not None and time.monotonic() > end):
            break
        try:
            target.judge(data, chance)
        except Exception as error:
            raise Finding(target.name, seed, number, data) from error
        number += 1
    return number


def inputs(seeds: Sequence[bytes], seed: int) -> Iterator[tuple[bytes, random.Random]]:
    """The seeds themselves, and then without end what chance makes of them."""
    chance = random.Random(seed)
    for data in seeds:
        yield data, chance
    while True:
        data = chance.choice(seeds)
        if chance.random() < 0.5:
            data = _other_values(data, chance)
        for _ in range(int(chance.expovariate(0.7))):
            data = _other_bytes(data, seeds, chance)
        yield data, chance


def _other_bytes(data: bytes, seeds: Sequence[bytes], chance: random.Random) -> bytes:
    a, b = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    match chance.randrange(7):
        case 0:
            return data[:a] + chance.choice(_TOKENS) + data[a:]
        case 1:
            return data[:a] + chance.choice(_TOKENS) + data[b:]
        case 2:
            return data[:a] + data[b:]
        case 3:
            return data[:a]
        case 4:
            return data[:b] + data[a:]
        case 5:
            return data[:a] + chance.choice(seeds)[a:]
        case _:
            return data[:a] + chance.randbytes(chance.randrange(1, 5)) + data[a + 1 :]


def _other_values(data: bytes, chance: random.Random) -> bytes:
    """The same JSON, if it is that, with one value, or one key, another."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return data
    holder: Any = [value]
    places = []
    waiting = [holder]
    while waiting:
        inside = waiting.pop()
        for place, item in list(inside.items() if isinstance(inside, dict) else enumerate(inside)):
            places.append((inside, place))
            if isinstance(item, dict | list):
                waiting.append(item)
    inside, place = chance.choice(places)
    if isinstance(inside, dict) and chance.random() < 0.3:
        item = inside.pop(place)
        if chance.random() < 0.5:
            inside[chance.choice(["x", "", "\ud800", "../x", place.upper()])] = item
    else:
        inside[place] = chance.choice(_VALUES)
    return json.dumps(holder[0]).encode()
