"""The model server of a chaos run, in a process of its own. It also watches: nothing may be asked for twice.

Usage: ``python -m tests.slow.chaos.server PLAN``. Writes its base URL to standard output as JSON, then answers each
line of standard input (see `Watcher.obey`) with a line of JSON, and ends with its input.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
from collections import Counter
from functools import partial
from typing import Any

import attrs
import trio

from trioagent.testing import ModelRequest, ModelServer, Say, serve_model
from trioagent.testing._script import Wire

from . import _faults, _script
from ._plan import STEADY_FIRST, Plan

_JOB = re.compile(r"Job (\d+), message")
_SHOWN = 20


class Watcher:
    """Answers requests by the script, and notes what must not happen.

    Attributes:
        served: answers by kind.
        violations: what a batch that loses nothing and repeats nothing would not have asked.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tries: Counter[tuple[int, int]] = Counter()
        self._given: set[tuple[int, int]] = set()
        self._highest: dict[int, int] = {}  # the latest answer that a job has asked for: all before it are journaled
        self._began = trio.current_time()
        self._count = 0
        self.served: Counter[str] = Counter()
        self.given_again = 0
        self.violations: list[str] = []

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """``{"kept": {number: answers}}``: the journal holds so many answers of a job, none of which may be asked for.

        ``{"forget": true}``: these jobs are over. Both return what has been seen so far.
        """
        for number, answers in order.get("kept", {}).items():
            self._highest[int(number)] = max(self._highest.get(int(number), 0), answers)
        if order.get("forget"):
            self._tries.clear()
            self._given.clear()
            self._highest.clear()
        return {
            "served": dict(self.served),
            "given_again": self.given_again,
            "violations": len(self.violations),
            "shown": self.violations[:_SHOWN],
        }

    def answer(self, request: ModelRequest) -> Wire | Say:
        messages = request.messages
        number = int(_JOB.match(messages[1]["content"])[1])  # type: ignore[index]
        turn = sum(message["role"] == "assistant" for message in messages)
        self._check(number, turn, messages)
        kind = self._outage(number)
        tried = self._tries[number, turn]
        if kind is None:
            lasting = _script.permanent(self._plan.seed, number)
            if lasting and turn >= _script.FAILS_AT:
                self.served[f"for good: {lasting}"] += 1
                return _faults.lasting(lasting, number)
            self._tries[number, turn] += 1
            kind = self._fault(number, turn, tried)
        if kind is not None:
            self.served[kind] += 1
            self._count += 1
            return _faults.fault(kind, self._count)
        self.given_again += (number, turn) in self._given
        self._given.add((number, turn))
        said = [turn for message in _script.turns(self._plan.seed, number) for turn in message]
        chance = random.Random(f"{self._plan.seed} form {number}.{turn}.{tried}")
        answer = said[turn]
        form, say = _faults.right(_script.text(answer), chance=chance, latency=self._plan.latency)
        if isinstance(answer, _script.Cut):
            form, say = "right, cut by the token limit", attrs.evolve(say, finish_reason="length")
        elif answer.swallowed:
            form = "right, without its <think>"
        self.served[form] += 1
        return say

    def _outage(self, number: int) -> str | None:
        """What everybody gets at this time, however often they ask."""
        which, into = divmod(trio.current_time() - self._began, self._plan.outage_every)
        if not which or into >= self._plan.outage_seconds:
            return None
        kind = _faults.OUTAGES[int(which) % len(_faults.OUTAGES)]
        return "503" if kind == "quota" and number >= STEADY_FIRST else kind

    def _fault(self, number: int, turn: int, tried: int) -> str | None:
        if tried >= _faults.MOST:
            return None
        storm, into = divmod(trio.current_time() - self._began, self._plan.storm_every)
        if into < self._plan.storm_seconds and storm:
            return _faults.OVERLOADS[int(storm) % len(_faults.OVERLOADS)]
        kinds = _faults.schedule(self._plan.seed, number, turn)
        return kinds[tried] if tried < len(kinds) else None

    def _check(self, number: int, turn: int, messages: list[dict[str, str]]) -> None:
        expected = _script.conversation(self._plan.seed, number)[: len(messages)]
        said = tuple((message["role"], message["content"]) for message in messages)
        if said != tuple(("user" if role == "tool" else role, content) for role, content in expected):
            self.violations.append(f"job {number}: its conversation is not the script's: {said[-2:]}")
        if turn < self._highest.get(number, 0):
            self.violations.append(
                f"job {number}: answer {turn} was asked for again; "
                f"the journal holds {self._highest[number]} of its answers"
            )
        self._highest[number] = max(self._highest.get(number, 0), turn)


async def main(plan: Plan) -> None:
    watcher = Watcher(plan)
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(partial(serve_model, watcher.answer, record=False))
        _say({"base_url": server.base_url})
        lines = trio.lowlevel.FdStream(os.dup(sys.stdin.fileno()))
        rest = b""
        while data := await lines.receive_some(65536):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                _say(watcher.obey(json.loads(line)))
        nursery.cancel_scope.cancel()


def _say(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    trio.run(main, Plan.from_json(sys.argv[1]))
