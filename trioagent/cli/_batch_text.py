"""Texts about the progress of a run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ._terminal import shortened

_STATES = {
    "working": "at work",
    "rate": "waiting for rate",
    "model": "model",
    "retrying": "retrying",
    "held": "held by an outage",
    "review": "waiting for review",
    "sandbox": "sandbox",
}
_ID_CHARS = 60
_PROBLEM_CHARS = 160
_MOST_NODES = 8
_OUTAGES = {"server": "server away", "refusal": "server refuses everything", "disk": "disk full"}


def duration(seconds: float) -> str:
    """``12 s``, ``12 min``, ``3 h 12 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def progress_lines(progress: Mapping[str, Any]) -> list[str]:
    """A whole progress (`trioagent.batch.Progress` as a mapping), one topic a line."""
    lines = [counts(progress)]
    if states := _states(progress):
        lines.append(f"running: {states}")
    lines += outages(progress)
    if progress.get("last_error"):
        ago = duration(progress["last_error_seconds"])
        lines.append(f"last server error, {ago} ago: {shortened(progress['last_error'], _PROBLEM_CHARS)}")
    lines += [_endpoint(endpoint) for endpoint in progress["endpoints"]]
    lines += nodes(progress)
    lines.append(f"spent: {spending(progress)}")
    lines += stragglers(progress)
    return lines


def progress_line(progress: Mapping[str, Any]) -> str:
    """The main facts of a progress, on one line."""
    parts = [counts(progress), *outages(progress), _states(progress), f"{progress['tokens_total']:,} tokens"]
    return "; ".join(part for part in parts if part)


def outages(progress: Mapping[str, Any]) -> list[str]:
    """Current outages, with their durations."""
    return [
        f"{_OUTAGES[one['kind']]} for {duration(one['seconds'])}: "
        f"{shortened(one['problem'], _PROBLEM_CHARS)} ({one['name']})"
        for one in progress.get("outages", ())
    ]


def counts(progress: Mapping[str, Any]) -> str:
    ended = progress["skipped"] + progress["done"] + progress["failed"]
    total = progress["total"]
    parts = [
        f"{ended:,} jobs ended" if total is None else f"{ended:,} of {total:,} jobs ended ({_share(ended, total)})"
    ]
    if progress["failed"]:
        parts.append(f"{progress['failed']:,} failed")
    parts.append(f"{progress['running']:,} running")
    if progress["queued"] is not None:
        parts.append(f"{progress['queued']:,} queued")
    if progress["stopping"]:
        parts.append("stopping")
    elif progress["eta_seconds"] is not None:
        parts.append(f"about {duration(progress['eta_seconds'])} to go")
    return " · ".join(parts)


def _share(part: int, whole: int) -> str:
    """In percent, rounded down, so that 100 % means all of them."""
    return f"{part * 100 // whole if whole else 100} %"


def spending(progress: Mapping[str, Any]) -> str:
    parts = [_against(progress["tokens_total"], progress["max_tokens"], "tokens")]
    if progress["cost_total"] or progress["max_cost"] is not None:
        limit = f" of {progress['max_cost']:g}" if progress["max_cost"] is not None else ""
        parts.append(f"cost {progress['cost_total']:.4g}{limit}")
    rate = progress["answers"] * 60 / progress["seconds"] if progress["seconds"] >= 1 else 0
    parts.append(f"{progress['answers']:,} answers" + (f" ({rate:,.0f} a minute)" if rate else ""))
    parts.append(duration(progress["seconds"]))
    return " · ".join(parts)


def nodes(progress: Mapping[str, Any]) -> list[str]:
    """The workers of a run's cluster: each that works, and the last that do not."""
    found = progress.get("nodes", ())
    here = [node for node in found if node["state"] in ("working", "silent")]
    gone = [node for node in found if node["state"] in ("lost", "refused")]
    lines = [
        f"worker {node['node']}: {node['running']:,} under way, {node['answers']:,} answers, {node['blocks']:,} blocks"
        + (", silent" if node["state"] == "silent" else "")
        for node in here[:_MOST_NODES]
    ]
    if len(here) > _MOST_NODES:
        lines.append(f"and {len(here) - _MOST_NODES:,} more workers")
    if gone:
        last = gone[-1]
        name = last["node"] or "one that was being started"
        lines.append(
            f"{len(gone):,} workers lost or refused; the last: {name}: {shortened(last['problem'], _PROBLEM_CHARS)}"
        )
    return lines


def cluster_line(use: Mapping[str, Any]) -> str:
    """What the cluster did for a run (`trioagent._remote.ClusterUse` as a mapping)."""
    machines = {node["node"].rpartition(":")[0] for node in use["nodes"] if node["answers"] or node["blocks"]}
    line = f"on {len(machines):,} {'machine' if len(machines) == 1 else 'machines'}"
    if use["lost"]:
        line += (
            f"; {use['lost']:,} workers lost, with them {use['asked_again']:,} requests that were sent again "
            f"and {use['run_again']:,} blocks that were run again"
        )
    return line


def stragglers(progress: Mapping[str, Any]) -> Iterator[str]:
    for job in progress["stragglers"]:
        doing = _STATES.get(job["state"], job["state"]) or "starting"
        since = duration(job["state_seconds"])
        yield f"slowest: {shortened(job['id'], _ID_CHARS)}, {duration(job['seconds'])} in all; {doing} for {since}"


def _states(progress: Mapping[str, Any]) -> str:
    return " · ".join(f"{count:,} {_STATES.get(state, state)}" for state, count in progress["states"].items())


def _endpoint(use: Mapping[str, Any]) -> str:
    parts = [f"{use['in_flight']:,} of {use['allowed_in_flight']:,} requests in flight"]
    if use["waiting"]:
        parts.append(f"{use['waiting']:,} waiting")
    for what in ("requests", "tokens"):
        if use[f"{what}_per_minute"] is not None:
            parts.append(_against(use[f"{what}_last_minute"], use[f"{what}_per_minute"], f"{what} in the last minute"))
    return f"{use['url']}: {' · '.join(parts)}"


def _against(used: float, limit: float | None, what: str) -> str:
    return f"{used:,} {what}" if limit is None else f"{used:,} of {limit:,.10g} {what}"
