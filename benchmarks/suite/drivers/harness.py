"""What all drivers share: their order, the rounds of episodes, and what is measured of them.

A driver gives one function that runs an episode; how many run at once, and with what (tasks or threads), is done here
for its kind of concurrency. Standard library only, but for the Trio loop.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import json
import platform
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .. import processes
from ..episode import REPLY, done, message

AsyncEpisode = Callable[[str, Path], Awaitable[str]]
"""Runs the episode of the agent that is told so, with its notes in this folder; gives the reply."""
AsyncSystem = Callable[[str], AbstractAsyncContextManager[AsyncEpisode]]
"""Opens what agents share, for the model at a base URL."""
ABOUT: dict[str, str] = {}
"""What else a driver has to say of what ran."""
WARM = 900_000  # numbers of the agents that only warm up
Episode = Callable[[str, Path], str]
System = Callable[[str], AbstractContextManager[Episode]]


@dataclass(frozen=True)
class Order:
    """What a driver is to do.

    Attributes:
        server: the model server's address.
        style: how the model answers; see :func:`benchmarks.suite.episode.answers`.
        variant: for a driver that can be several systems.
        latency: seconds of each answer.
        agents: how many at once.
        rounds: how often all of them.
        warm: episodes before, at no latency.
        folder: for the notes; an empty one.
        packages: whose versions to say.
    """

    server: str
    style: str
    variant: str
    latency: float
    agents: int
    rounds: int
    warm: int
    folder: str
    packages: list[str]

    def url(self, latency: float) -> str:
        """The model's base URL."""
        return f"{self.server}/{self.style}/{latency}/v1"


@dataclass
class Figures:
    """What a driver says at its end; seconds and bytes."""

    walls: list[float] = field(default_factory=list)
    own_cpu: float = 0.0
    children_cpu: float = 0.0
    rss_before: int = 0
    rss_peak: int = 0
    episodes: list[tuple[int, float, float]] = field(default_factory=list)  # number, began, ended; CLOCK_MONOTONIC
    errors: dict[str, int] = field(default_factory=dict)
    first_error: str = ""
    versions: dict[str, str] = field(default_factory=dict)


class Recorder:
    """Keeps what happens to episodes, and measures around a round."""

    def __init__(self, order: Order) -> None:
        self.order, self.figures = order, Figures()
        self._errors: Counter[str] = Counter()

    def numbers(self, round_: int) -> range:
        """The agents of a round; every agent of a run has a number, and notes, of its own."""
        return range(round_ * self.order.agents, (round_ + 1) * self.order.agents)

    def folder(self, number: int) -> Path:
        """Where an agent keeps its notes."""
        return Path(self.order.folder) / f"{number}"

    def began(self) -> None:
        """The measured part begins."""
        gc.collect()
        processes.forget_peak()
        self.figures.rss_before = processes.rss()
        self.figures.own_cpu, self.figures.children_cpu = -processes.own_cpu(), -processes.children_cpu()

    def ended(self) -> None:
        """The measured part is over; checks from here on are not counted."""
        self.figures.own_cpu += processes.own_cpu()
        self.figures.children_cpu += processes.children_cpu()
        self.figures.rss_peak = processes.peak_rss()
        writes = self.order.style != "reply"
        for number, _, _ in self.figures.episodes:
            if writes and not done(self.folder(number)):
                self._errors["the note is missing"] += 1
        self.figures.errors = dict(self._errors)
        self.figures.versions = {"python": platform.python_version(), **ABOUT} | {
            name: importlib.metadata.version(name) for name in self.order.packages
        }

    def over(self, number: int, began: float, reply: str) -> None:
        """An episode ended with a reply."""
        self.figures.episodes.append((number, began, time.monotonic()))
        if reply != REPLY:
            self.failed(ValueError(f"the reply was {reply[:200]!r}"), "another reply")

    def failed(self, error: BaseException, kind: str = "") -> None:
        """An episode failed."""
        self._errors[kind or type(error).__name__] += 1
        self.figures.first_error = self.figures.first_error or f"{type(error).__name__}: {error}"[:500]


async def _one(recorder: Recorder, number: int, episode: AsyncEpisode) -> None:
    began = time.monotonic()
    try:
        reply = await episode(message(number), recorder.folder(number))
    except Exception as error:  # noqa: BLE001  # counted by kind
        recorder.failed(error)
    else:
        recorder.over(number, began, reply)


def run_trio(system: AsyncSystem) -> None:
    """The driver's main, for a system on Trio."""
    import trio

    async def all_of(episode: AsyncEpisode, recorder: Recorder, numbers: Iterable[int]) -> None:
        async with trio.open_nursery() as nursery:
            for number in numbers:
                nursery.start_soon(_one, recorder, number, episode)

    _deliver(lambda order: trio.run(_measure, order, system, all_of))


def run_asyncio(system: AsyncSystem) -> None:
    """The driver's main, for a system on asyncio."""

    async def all_of(episode: AsyncEpisode, recorder: Recorder, numbers: Iterable[int]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_one(recorder, number, episode)) for number in numbers]
        assert all(task.done() for task in tasks)

    _deliver(lambda order: asyncio.run(_measure(order, system, all_of)))


async def _measure(
    order: Order,
    system: AsyncSystem,
    all_of: Callable[[AsyncEpisode, Recorder, Iterable[int]], Awaitable[None]],
) -> Figures:
    async with system(order.url(0.0)) as episode:
        await all_of(episode, _warm_up(order), range(WARM, WARM + order.warm))
    recorder = Recorder(order)
    async with system(order.url(order.latency)) as episode:
        recorder.began()
        for round_ in range(order.rounds):
            began = time.monotonic()
            await all_of(episode, recorder, recorder.numbers(round_))
            recorder.figures.walls.append(time.monotonic() - began)
        recorder.ended()
    return recorder.figures


def run_threads(system: System) -> None:
    """The driver's main, for a system that blocks: a thread an agent."""

    def all_of(episode: Episode, recorder: Recorder, numbers: Iterable[int]) -> None:
        def one(number: int) -> None:
            began = time.monotonic()
            try:
                reply = episode(message(number), recorder.folder(number))
            except Exception as error:  # noqa: BLE001  # counted by kind
                recorder.failed(error)
            else:
                recorder.over(number, began, reply)

        threads = [threading.Thread(target=one, args=(number,)) for number in numbers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def measure(order: Order) -> Figures:
        with system(order.url(0.0)) as episode:
            all_of(episode, _warm_up(order), range(WARM, WARM + order.warm))
        recorder = Recorder(order)
        with system(order.url(order.latency)) as episode:
            recorder.began()
            for round_ in range(order.rounds):
                began = time.monotonic()
                all_of(episode, recorder, recorder.numbers(round_))
                recorder.figures.walls.append(time.monotonic() - began)
            recorder.ended()
        return recorder.figures

    _deliver(measure)


def _warm_up(order: Order) -> Recorder:
    return Recorder(Order(**{**asdict(order), "folder": f"{order.folder}/warm"}))


def _deliver(measure: Callable[[Order], Figures]) -> None:
    """Read the order from argv, do it, and say the figures on standard output, alone on the last line."""
    processes.raise_descriptor_limit()
    order = Order(**json.loads(sys.argv[1]))
    print("\n" + json.dumps(asdict(measure(order))))


def order_variant() -> str:
    """Which of a driver's systems is asked for."""
    variant: str = json.loads(sys.argv[1])["variant"]
    return variant
