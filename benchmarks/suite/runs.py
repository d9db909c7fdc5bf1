"""One run: a system's driver with so many agents, watched from outside, and what comes of it as plain figures."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .drivers.harness import Figures, Order
from .environments import NotInstalledError, interpreter
from .episode import TURNS
from .load import get_json
from .processes import CPU_RESOLUTION, available_memory, memory_of_tree
from .server import ROOT, environment
from .systems import System

Run = dict[str, Any]
"""What is known of one run, as it goes into the JSON file."""

_SAMPLE_SECONDS = 0.25
_WARM = 4
_MIB = 2**20
_ERROR_CHARS = 500
MEMORY_SHARE = 0.7  # of the available memory that a run may be expected to need


def run(system: System, agents: int, *, server: str, latency: float, limit: float) -> Run:
    """Run a system's driver once. Whatever hinders it is said in the result: ``status`` and ``reason``."""
    result: Run = {"system": system.name, "agents": agents, "latency": latency, "ideal_wall_s": TURNS * latency}
    reason = _not_tried(system, agents)
    if reason:
        return {**result, "status": "not tried", "reason": reason}
    try:
        python = interpreter(system.pins)
    except NotInstalledError as error:
        return {**result, "status": "not installed", "reason": str(error)}
    with tempfile.TemporaryDirectory(prefix="trioagent-bench-") as folder:
        order = Order(
            server=server,
            style=system.style,
            variant=system.variant,
            latency=latency,
            agents=agents,
            rounds=3 if agents < 4 else 1,
            warm=_WARM,
            folder=folder,
            packages=list(system.packages),
        )
        get_json(server + "/trace")  # forget what others left
        before = get_json(server + "/stats")
        watched = _watch(python, system.driver, order, limit)
        after, trace = get_json(server + "/stats"), get_json(server + "/trace")
    if "figures" not in watched:
        return {**result, **watched}
    counts = {
        "server_cpu_s": after["cpu_seconds"] - before["cpu_seconds"],
        "connections": after["connections_accepted"] - before["connections_accepted"] - 2,  # two are our own
        "tree_peak_mib": watched["tree_peak"] / _MIB,
    }
    return {**result, "status": "ok", **counts, **summary(Figures(**watched["figures"]), trace, order)}


def _not_tried(system: System, agents: int) -> str:
    if agents > system.most:
        return f"at most {system.most}: {system.why}"
    available = available_memory() / _MIB
    if agents * system.mib > available * MEMORY_SHARE:
        return f"needs some {agents * system.mib:.0f} MiB, and {available:.0f} MiB are free"
    return ""


def _watch(python: str, driver: str, order: Order, limit: float) -> Run:
    """Run a driver to its end, or to the limit; look at its memory meanwhile."""
    command = [python, "-m", f"benchmarks.suite.drivers.{driver}", json.dumps(asdict(order))]
    began, peak = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=output, stderr=errors, cwd=ROOT, env=environment(), start_new_session=True
        )
        try:
            while process.poll() is None:
                if time.monotonic() - began > limit:
                    return {"status": "stopped", "reason": f"was not done after {limit:g} s"}
                peak = max(peak, memory_of_tree(process.pid))
                try:
                    process.wait(_SAMPLE_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            said = errors.read().strip().splitlines()[-1:]
            return {"status": "failed", "reason": f"exit {process.returncode}: {''.join(said)}"[:_ERROR_CHARS]}
        return {"figures": json.loads(output.read().splitlines()[-1]), "tree_peak": peak}


def summary(figures: Figures, trace: Iterable[list[float]], order: Order) -> Run:
    """The figures of a run, in the units of the table."""
    count = order.agents * order.rounds
    came: dict[int, list[float]] = {}
    late = []
    for agent, _turn, arrived, left in trace:
        if 0 <= agent < count:
            came.setdefault(int(agent), []).append(arrived)
            if left:
                late.append(left - arrived - order.latency)
    overheads = []
    for number, began, ended in figures.episodes:
        turns = came.get(number, [])
        if len(turns) == TURNS:  # neither lost nor sent again
            # A turn lasts from one request to the next; the first also has the way there, the last the way to the end.
            marks = [began, *turns[1:], ended]
            overheads += [after - before - order.latency for before, after in itertools.pairwise(marks)]
    return {
        "rounds": order.rounds,
        "episodes": len(figures.episodes),
        "wall_s": sum(figures.walls) / len(figures.walls),
        "walls_s": figures.walls,
        "cpu_process_ms": 1e3 * figures.own_cpu / count,
        "cpu_children_ms": 1e3 * figures.children_cpu / count,
        "cpu_ms": 1e3 * (figures.own_cpu + figures.children_cpu) / count,
        "cpu_resolution_ms": 1e3 * CPU_RESOLUTION / count,
        "rss_peak_mib": figures.rss_peak / _MIB,
        "rss_per_agent_kib": max(0, figures.rss_peak - figures.rss_before) / 1024 / order.agents,
        "turn_overhead_p50_ms": 1e3 * percentile(overheads, 0.50),
        "turn_overhead_p99_ms": 1e3 * percentile(overheads, 0.99),
        "server_late_p99_ms": 1e3 * percentile(late, 0.99),
        "requests_extra": sum(map(len, came.values())) - TURNS * count,
        "errors": figures.errors,
        "first_error": figures.first_error,
        "versions": figures.versions,
    }


def percentile(values: list[float], share: float) -> float:
    """The smallest value that is not below *share* of them; not a number if there are none."""
    if not values:
        return float("nan")
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def write_json(path: Path, value: object) -> None:
    """Write figures for programs to read; what is not a number is null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_finite(value), indent=1) + "\n")


def _finite(value: Any) -> Any:
    match value:
        case float() if value != value or abs(value) == float("inf"):
            return None
        case float():
            return round(value, 4)
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
    return value
