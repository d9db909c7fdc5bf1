"""What the suite shows: tables on the terminal, the picture, and the facts of machine and versions."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .chart import Panel, chart
from .runs import Run
from .server import ROOT
from .systems import NAMES, by_name

_COLUMNS = 132
_CAPTION = """\
CPU of an episode: of the system's process (the model's side, and the host's share of blocks), and of its children (the
sandbox's side; ~ if it is known to no better than a tenth). RSS: the process's peak; PSS: with all children, shared
pages counted once. Overhead: a turn's wall less the server's latency, the wait for a processor included.
"""
OURS = "trioagent"
_RATIOS = [
    ("wall_s", "wall"),
    ("cpu_ms", "CPU an episode"),
    ("rss_peak_mib", "peak RSS"),
    ("tree_peak_mib", "PSS of all"),
]


def wide_console() -> Console:
    """Standard output, as wide as the tables: a log has no width of its own, and half a table says nothing."""
    return Console(width=max(_COLUMNS, Console().width), soft_wrap=True, highlight=False)


def facts() -> dict[str, Any]:
    """Where and when figures come from."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "cores": os.cpu_count(),
            "usable_cores": len(os.sched_getaffinity(0)),
            "processor": _processor(),
            "memory_gib": round(memory / 2**30, 1),
            "notes_on": file_system(tempfile.gettempdir()),
            "kernel": f"{platform.system()} {platform.release()}",
            "load_before": os.getloadavg()[0],
            "root": os.geteuid() == 0,
            "python": platform.python_version(),
        },
    }


def _commit() -> str:
    """The commit that is measured, with "+" if files differ from it."""
    git = ["git", "-C", str(ROOT)]
    named = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    if named.returncode:
        return "unknown"
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return named.stdout.strip() + ("+" if changed.stdout.strip() else "")


def file_system(folder: str) -> str:
    """What kind of file system a folder is on."""
    path, found = Path(folder).resolve(), ("", "unknown")
    for mount in Path("/proc/self/mounts").read_text().splitlines():
        point, kind = mount.split()[1:3]
        if path.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def line(run: Run) -> str:
    """One run in one line, said when it is over."""
    head = f"{run['system']:<18} {run['agents']:>5} agents: "
    if run["status"] != "ok":
        return f"{head}{run['status']}: {run['reason']}"
    return (
        f"{head}{run['wall_s']:.2f} s, CPU an episode {run['cpu_ms']:.1f} ms, "
        f"{run['tree_peak_mib']:.0f} MiB, {errors(run)} errors"
    )


def errors(run: Run) -> str:
    """How many episodes went wrong, and how."""
    kinds: dict[str, int] = run["errors"]
    extra = [f"{run['requests_extra']} requests repeated"] if run["requests_extra"] > 0 else []
    return ", ".join([*(f"{count} {kind}" for kind, count in kinds.items()), *extra]) or "0"


def show(console: Console, runs: Sequence[Run]) -> None:
    """The table of figures, what was left out and why, and the ratios."""
    runs = sorted(runs, key=lambda run: (NAMES.index(run["system"]), run["agents"]))
    table = Table(title="The standard episode: 3 answers of the model, 2 blocks (or tool calls)")
    for name in ("system", "agents", "wall s", "ideal", "CPU process ms", "children ms", "RSS MiB", "PSS of all"):
        table.add_column(name, justify="left" if name == "system" else "right", no_wrap=name == "system")
    for name in ("KiB an agent", "overhead p50 ms", "p99 ms", "errors"):
        table.add_column(name, justify="right")
    for run in runs:
        if run["status"] == "ok":
            table.add_row(*_cells(run))
        else:
            table.add_row(run["system"], str(run["agents"]), run["status"], *[""] * 8, "")
    console.print(table)
    console.print(_CAPTION)
    for run in runs:
        if run["status"] != "ok" or run["errors"]:
            why = run.get("reason") or f"{errors(run)} errors; the first: {run['first_error']}"
            console.print(f"{run['system']}, {run['agents']} agents: {why}", markup=False, highlight=False)
    _show_ratios(console, ratios(runs))


def _cells(run: Run) -> list[str]:
    unsure = "~" if run["cpu_children_ms"] and run["cpu_resolution_ms"] > 0.1 * run["cpu_ms"] else ""
    return [
        run["system"],
        str(run["agents"]),
        f"{run['wall_s']:.2f}",
        f"{run['ideal_wall_s']:.2f}",
        f"{run['cpu_process_ms']:.2f}",
        f"{unsure}{run['cpu_children_ms']:.2f}" if run["cpu_children_ms"] else "-",
        f"{run['rss_peak_mib']:.0f}",
        f"{run['tree_peak_mib']:.0f}",
        f"{run['rss_per_agent_kib']:.0f}",
        f"{run['turn_overhead_p50_ms']:.1f}",
        f"{run['turn_overhead_p99_ms']:.1f}",
        errors(run),
    ]


def ratios(runs: Sequence[Run]) -> list[Run]:
    """Each other system's figures as multiples of ours, at the same number of agents."""
    good = {(run["system"], run["agents"]): run for run in runs if run["status"] == "ok"}
    found = []
    for (name, agents), run in good.items():
        ours = good.get((OURS, agents))
        if ours is not None and not by_name(name).own:
            shares = {key: run[key] / ours[key] for key, _ in _RATIOS if ours[key]}
            found.append({"system": name, "agents": agents, **shares})
    return found


def _show_ratios(console: Console, found: Sequence[Run]) -> None:
    if not found:
        return
    table = Table(title=f"Multiples of {OURS}'s (above 1: {OURS} needs less)")
    for name in ("system", "agents", *(title for _, title in _RATIOS)):
        table.add_column(name, justify="left" if name == "system" else "right")
    for row in found:
        table.add_row(row["system"], str(row["agents"]), *(f"{row[key]:.2f} x" for key, _ in _RATIOS if key in row))
    console.print(table)


def picture(runs: Sequence[Run], title: str) -> str:
    """The runs as an SVG document: wall, CPU an episode, memory."""
    good = [run for run in runs if run["status"] == "ok" and run["system"] != "trioagent-answers"]
    names = list(dict.fromkeys(run["system"] for run in good))

    def lines(key: str) -> dict[str, list[tuple[float, float]]]:
        return {name: [(run["agents"], run[key]) for run in good if run["system"] == name] for name in names}

    ideal = good[0]["ideal_wall_s"] if good else None
    return chart(
        title,
        [
            Panel("wall, seconds", lines("wall_s"), ideal),
            Panel("CPU an episode, ms", lines("cpu_ms")),
            Panel("peak memory with all children, MiB", lines("tree_peak_mib")),
        ],
    )
