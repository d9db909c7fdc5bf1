"""Suites: samples, how a memory is set up for them, the messages, and how they are graded. All of it is data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import attrs

from .._errors import InvalidInputError

ENTRY_POINTS = "trioagent.evals"
"""The entry point group in which packages offer suites of their own."""


@attrs.frozen(kw_only=True)
class SetUp:
    """How the memory is made that samples start from.

    Attributes:
        id: names it within its suite; samples of one set-up share it.
        notes: texts by path.
        messages: sent to an agent in one conversation after that. This happens once; all samples of the set-up get
            copies of the resulting notes, and nothing of the conversation.
    """

    id: str
    notes: Mapping[str, str] = attrs.field(factory=dict)
    messages: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class SampleAnswer:
    """The result of a sample, as its grader sees it.

    Attributes:
        replies: to each message; "" for none.
        before, after: texts of the notes by path.
    """

    replies: tuple[str, ...]
    before: Mapping[str, str]
    after: Mapping[str, str]

    @property
    def reply(self) -> str:
        """The reply to the last message."""
        return self.replies[-1] if self.replies else ""


@attrs.frozen
class Grade:
    """The grade of an answer.

    Attributes:
        score: from 0 to 1.
        reason: in one sentence.
    """

    score: float
    reason: str


Grader = Callable[[SampleAnswer], Grade]
"""Pure: the same answer always gets the same grade."""


@attrs.frozen(kw_only=True)
class Sample:
    """One conversation and how it is graded.

    Attributes:
        id: names it within its suite.
        category: results are aggregated by it.
        set_up: the memory that it starts from, each sample with a copy of its own.
        messages: the user's messages; the reply to the last one counts.
        expected: the right answer, for people and for a judge.
        grader: grades the answer, unless a judge does.
        judged: whether a judge model may grade it in place of the grader: the reply is what counts, not the notes.
    """

    id: str
    category: str
    set_up: SetUp
    messages: tuple[str, ...]
    expected: str
    grader: Grader
    judged: bool = True

    @property
    def digest(self) -> str:
        """A hash of everything that determines its conversation."""
        body = [self.category, digest_of(self.set_up), self.messages, self.expected]
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()


class Suite(Protocol):
    """A set of samples."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def summary(self) -> str:
        """One line about it."""

    @property
    def source(self) -> str:
        """Where its data comes from; "" if it is included."""

    def load(self, data: Path | None) -> Iterable[Sample]:
        """Its samples, always in the same order.

        Args:
            data: the folder or file that *source* describes; None if none was given.

        Raises:
            InvalidInputError: the data is missing or invalid; the text says where to get it.
        """


def digest_of(set_up: SetUp) -> str:
    """A hash of everything that determines a set-up's notes."""
    body = [sorted(set_up.notes.items()), set_up.messages]
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()


def suite_names() -> list[str]:
    """The suites that are installed."""
    return sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))


def find_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        InvalidInputError: there is none; the text lists the existing ones.
    """
    found = list(entry_points(group=ENTRY_POINTS, name=name))
    if not found:
        raise InvalidInputError("suite", f"{name!r} is not installed; there are {', '.join(suite_names())}")
    suite: Suite = found[0].load()
    return suite


def load_samples(suite: Suite, data: Path | None, *, limit: int | None = None) -> list[Sample]:
    """The samples of *suite*, checked.

    Args:
        limit: take only so many, spread evenly over the suite, so that every category is included.

    Raises:
        InvalidInputError: no data, bad data, no sample, or a duplicate id.
    """
    samples = list(suite.load(data))
    if not samples:
        raise InvalidInputError("data", f"{str(data)!r} holds no sample of {suite.name}{_from(suite)}")
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise InvalidInputError("suite", f"{suite.name} has two samples with the id {sample.id!r}")
        seen.add(sample.id)
    if limit is None or limit >= len(samples):
        return samples
    return _spread(samples, limit)


def need_data(suite: Suite, data: Path | None, *names: str) -> Path:
    """*data*, if it contains *names*.

    Raises:
        InvalidInputError: it does not, or is None; the text says where to get the data.
    """
    if data is None:
        raise InvalidInputError("data", f"is needed for {suite.name} (--data PATH){_from(suite)}")
    missing = [name for name in names if not (data / name).exists()]
    if not data.exists() or missing:
        what = f"has no {', '.join(missing)}" if data.exists() else "does not exist"
        raise InvalidInputError("data", f"{str(data)!r} {what}{_from(suite)}")
    return data


def _from(suite: Suite) -> str:
    return f"; its data comes from {suite.source}" if suite.source else ""


def _spread(samples: Sequence[Sample], limit: int) -> list[Sample]:
    """From each category the same share, and at least one sample, in the order of the suite."""
    by_category: dict[str, list[int]] = {}
    for number, sample in enumerate(samples):
        by_category.setdefault(sample.category, []).append(number)
    # Every category is traversed in even steps; the one with the least progress comes first.
    ranked = sorted(
        ((place + 0.5) / len(numbers), number)
        for numbers in by_category.values()
        for place, number in enumerate(numbers)
    )
    firsts = [numbers[len(numbers) // 2] for numbers in by_category.values()]
    chosen = dict.fromkeys([*firsts[:limit], *_even([number for _, number in ranked], limit)])
    return [samples[number] for number in sorted(list(chosen)[:limit])]


def _even(values: Sequence[int], count: int) -> list[int]:
    return [values[int((place + 0.5) * len(values) / count)] for place in range(count)]
