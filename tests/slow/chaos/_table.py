"""What a chaos run has seen, as a table, and what of it must hold."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from ._plan import Plan

MIB = 2**20
# Growth of one process from the second quarter of its life to the last that is taken for a leak. What is resident goes
# up and down by some MiB with the jobs that run at the time; a leak of 5 KiB a job would pass it after 7,000 jobs.
GROWTH_ALLOWED = 32 * MIB

Row = tuple[str, str, str]


@attrs.define(kw_only=True)
class Figures:
    """Counted and measured in one chaos run.

    Attributes:
        problems: what is wrong with the outcomes and the notes; empty, if all is well.
        step_kills: kills at a step of the batch's own tasks; these are not timed.
        kill_seconds: from each ``kill -9`` to the death of the batch and of everything below it.
        stop_seconds: from each single SIGINT or SIGTERM to the end of the process.
        cancel_seconds: from each second signal to the end of the process.
        inner_cancel_seconds: from each cancel within a process to the end of what was cancelled.
        left: what a process held on to more than before (descriptors, tasks, children) after its batch was over.
        marks_seen: whether processes of the sandbox were seen at all while they should be there.
        steady: the samples of the long-lived process.
        server: what the server counted.
    """

    plan: Plan
    rounds: int = 0
    jobs: int = 0
    meant_to_fail: int = 0
    rounds_seconds: float = 0.0
    starts: int = 0
    resumes: int = 0
    problems: list[str] = attrs.field(factory=list)
    step_kills: int = 0
    kill_seconds: list[float] = attrs.field(factory=list)
    stop_seconds: list[float] = attrs.field(factory=list)
    cancel_seconds: list[float] = attrs.field(factory=list)
    inner_cancel_seconds: list[float] = attrs.field(factory=list)
    left: Counter[str] = attrs.field(factory=Counter)
    left_processes: int = 0
    marks_seen: bool = False
    left_files: list[str] = attrs.field(factory=list)
    most: Counter[str] = attrs.field(factory=Counter)
    steady: list[dict[str, Any]] = attrs.field(factory=list)
    steady_seconds: float = 0.0
    steady_jobs: int = 0
    server: dict[str, Any] = attrs.field(factory=dict)

    def take_samples(self, samples: Iterable[dict[str, Any]]) -> None:
        """Add what the processes of one run directory have said of themselves."""
        for sample in samples:
            if "cancel_seconds" in sample:
                self.inner_cancel_seconds.append(sample["cancel_seconds"])
            for name, more in sample.get("left", {}).items():
                self.left[name] = max(self.left[name], more)
            for name in ("rss", "rss_below", "fds", "tasks", "children", "running"):
                self.most[name] = max(self.most[name], sample.get(name, 0))

    @property
    def growth(self) -> float:
        """Bytes by which the long-lived process grew from the second quarter of its life to the last."""
        quarter = len(self.steady) // 4
        if not quarter:
            return 0.0
        sizes = [sample["rss"] for sample in self.steady]
        return float(statistics.median(sizes[-quarter:]) - statistics.median(sizes[quarter : 2 * quarter]))

    @property
    def growth_per_1000_jobs(self) -> float:
        quarter = len(self.steady) // 4
        jobs = self.steady[-quarter // 2]["ended"] - self.steady[3 * quarter // 2]["ended"] if quarter else 0
        return self.growth / jobs * 1000 if jobs else 0.0

    def violations(self) -> list[str]:
        """Everything that must not be; timing plays no part."""
        found = [*self.problems, *self.server.get("shown", [])]
        if self.server.get("violations", 0) > len(self.server.get("shown", [])):
            found.append(f"{self.server['violations']} requests in all that should not have been sent")
        if self.starts and not self.marks_seen and self.plan.tier != "monty":  # its worker does not show our limits
            found.append("the sandbox's processes do not show this run's mark: if they were left, nobody would see it")
        if self.left_processes:
            found.append(f"{self.left_processes} processes outlived their batch")
        found += [f"a batch left {more} {name} in its process" for name, more in self.left.items() if more > 0]
        found += [f"left behind: {name}" for name in self.left_files]
        if self.growth > GROWTH_ALLOWED:
            found.append(f"one process grew by {self.growth / MIB:.1f} MiB")
        return found

    def rows(self) -> Iterator[Row]:
        """The table: figure, measured, wanted."""
        yield "jobs (of these meant to fail)", f"{self.jobs} ({self.meant_to_fail})", ""
        yield "jobs that did not end exactly once, or as they should", str(len(self.problems)), "0"
        yield "requests that should not have been sent", str(self.server.get("violations", 0)), "0"
        yield "answers lost under way and asked for again", str(self.server.get("given_again", 0)), ""
        yield "run directories / starts / resumes", f"{self.rounds + 1} / {self.starts} / {self.resumes}", ""
        yield "kill -9: at any time / at a step of its tasks", f"{len(self.kill_seconds)} / {self.step_kills}", ""
        yield "stops by signal / cancels by a second one", f"{len(self.stop_seconds)} / {len(self.cancel_seconds)}", ""
        yield "cancels within the process", str(len(self.inner_cancel_seconds)), ""
        yield from _times("kill -9 to everything dead", self.kill_seconds)
        yield from _times("second signal to the process's end", self.cancel_seconds)
        yield from _times("cancel within the process to its end", self.inner_cancel_seconds)
        yield from _times("stop (2 s of grace) to the process's end", self.stop_seconds)
        yield "processes that outlived their batch", str(self.left_processes), "0"
        for name in ("fds", "tasks", "children"):
            yield f"{name} left in a process after its batch", str(self.left[name]), "0"
        yield "temporary files and mounts left", str(len(self.left_files)), "0"
        yield "most jobs at once / descriptors / tasks", "{running} / {fds} / {tasks}".format_map(self.most), ""
        yield "most memory: batch / sandbox's processes", f"{self._mib('rss')} / {self._mib('rss_below')} MiB", ""
        if self.steady:
            yield "one process: seconds / jobs", f"{self.steady_seconds:.0f} / {self.steady_jobs}", ""
            yield "one process: jobs a second", f"{self.steady_jobs / self.steady_seconds:.1f}", ""
            yield "one process: memory by quarter of its life, MiB", " ".join(self._quarters()), ""
            yield "one process: growth", f"{self.growth / MIB:+.1f} MiB", f"< {GROWTH_ALLOWED / MIB:.0f} MiB"
            yield "one process: growth per 1000 jobs", f"{self.growth_per_1000_jobs / MIB:+.2f} MiB", ""
        rate = (self.jobs - self.steady_jobs) / self.rounds_seconds if self.rounds_seconds else 0.0
        yield "rounds: jobs a second, with kills and restarts", f"{rate:.1f}", ""
        served: dict[str, int] = self.server.get("served", {})
        right = sum(count for kind, count in served.items() if kind.startswith("right"))
        yield (
            "requests / right answers / faults",
            f"{sum(served.values())} / {right} / {sum(served.values()) - right}",
            "",
        )
        for kind, count in sorted(served.items(), key=lambda item: (item[0].startswith("right"), -item[1])):
            yield f"  {kind}", str(count), ""

    def _mib(self, name: str) -> str:
        return f"{self.most[name] / MIB:.0f}"

    def _quarters(self) -> list[str]:
        size = max(1, len(self.steady) // 4)
        parts = [self.steady[i * size : (i + 1) * size] for i in range(4)]
        return [f"{statistics.median(s['rss'] for s in part) / MIB:.1f}" for part in parts if part]


def _times(what: str, seconds: list[float]) -> Iterator[Row]:
    if seconds:
        ordered = sorted(seconds)
        p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
        middle = statistics.median(ordered)
        yield f"{what}: p50 / p99 / most", f"{middle * 1e3:.0f} / {p99 * 1e3:.0f} / {ordered[-1] * 1e3:.0f} ms", ""
