"""All systems side by side: ``python -m benchmarks suite [--agents 1,10] [--systems trioagent,langgraph] [--full]``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .environments import CACHE, cache_folder
from .report import facts, line, picture, show, wide_console
from .runs import Run, run, write_json
from .server import running_server
from .systems import NAMES, System, by_name

SIZES = [1, 10, 100, 1000, 5000]
_LIMIT = {False: 240.0, True: 1200.0}


def order_of(agents: Sequence[int], systems: Sequence[System], *, full: bool) -> list[tuple[System, int]]:
    """What is run, in order; without *full*, each system up to its own number of agents that is quick.

    Runs of one size follow each other: a machine's mood changes from minute to minute, and they are compared.
    """
    return [(system, size) for size in agents for system in systems if full or size <= system.quick]


def main(arguments: list[str] | None = None) -> None:
    """Run, show, and write ``suite.json`` and ``suite.svg``."""
    options = _options(arguments)
    console = wide_console()
    systems = [by_name(name) for name in options.systems]
    # Sizes that are asked for are run, whatever they take.
    planned = order_of(options.agents or SIZES, systems, full=options.full or options.agents is not None)
    document = {**facts(), "latency": options.latency, "systems": {system.name: system.what for system in systems}}
    runs: list[Run] = []
    out: Path = options.out or cache_folder("results")
    try:
        for system, agents in planned:
            # A server each, so that what one leaves behind (closed connections, memory) is not in another's figures.
            with running_server() as server:
                limit = options.limit or _LIMIT[options.full]
                runs.append(run(system, agents, server=server, latency=options.latency, limit=limit))
            console.print(line(runs[-1]), markup=False, highlight=False)
    finally:  # also when interrupted: what was measured is measured
        show(console, runs)
        write_json(out / "suite.json", {**document, "runs": runs})
        (out / "suite.svg").write_text(
            picture(runs, f"3 turns of {options.latency:g} s and 2 blocks, by agents at once")
        )
        console.print(f"{out / 'suite.json'}, {out / 'suite.svg'}", markup=False, highlight=False)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks suite", description=__doc__)
    parser.add_argument("--agents", type=_numbers, help=f"how many at once, e.g. 1,10 (default: {_words(SIZES)})")
    parser.add_argument("--systems", type=_names, default=NAMES, help=f"some of {_words(NAMES)}")
    parser.add_argument("--latency", type=float, default=1.0, help="seconds of each model answer (default: 1.0)")
    parser.add_argument("--full", action="store_true", help="each system up to the most that makes sense for it")
    parser.add_argument("--limit", type=float, help="seconds after which a run is stopped")
    parser.add_argument("--out", type=Path, help=f"folder for suite.json and suite.svg (default: {CACHE / 'results'})")
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _names(text: str) -> list[str]:
    try:
        return [by_name(part).name for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _words(values: Sequence[object]) -> str:
    return ",".join(map(str, values))


if __name__ == "__main__":
    main()
