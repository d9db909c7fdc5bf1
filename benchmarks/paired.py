"""This checkout against another, in turns: ``python -m benchmarks --against CHECKOUT [FIGURE ...] [--rounds N]``.

The same program measures both, with nothing but the public API, in a process for each. Both stay alive and take turns
of some tenths of a second, each beginning every other round, so that whatever else the machine does meets both alike.
Shown are the medians, the median of the rounds' ratios (this checkout's cost over the other's) with their quartiles,
and minor page faults, which do not depend on the machine's load at all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs

from ._measure import machine, model_server
from ._paired_worker import FIGURES, Figure
from .one_agent import answer

ROOT = Path(__file__).resolve().parent.parent
# The checkout's package, measured by this one's benchmarks.
_LAUNCH = """
import sys
checkout, here, *arguments = sys.argv[1:]
sys.path.insert(0, checkout)
import trioagent
sys.path[0] = here
from benchmarks._paired_worker import main
main(checkout, *arguments)
"""


@attrs.frozen
class Cost:
    """What one turn cost, for each piece of work."""

    wall: float  # ms
    cpu: float  # ms
    faults: float

    def of(self, figure: Figure) -> float:
        return self.wall if figure.by == "wall" else self.cpu


def python_of(checkout: Path) -> str:
    own = checkout / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


def write_bytecode(checkout: Path) -> None:
    """As an installation does. The sandbox's processes write none, and would compile their modules at each start."""
    subprocess.run([python_of(checkout), "-m", "compileall", "-q", str(checkout / "trioagent")], check=True)


class Side:
    """A process that measures one checkout."""

    def __init__(self, checkout: Path, figure: str, base_url: str) -> None:
        command = [python_of(checkout), "-P", "-c", _LAUNCH, str(checkout), str(ROOT), figure, base_url]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def turn(self, count: int) -> Cost:
        """Do *count* pieces of work.

        Raises:
            RuntimeError: the process ended.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        print(count, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that measures ended with status {self._process.wait()}")
        measured: dict[str, Any] = json.loads(line)
        return Cost(**measured)

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@contextmanager
def sides(checkouts: Sequence[Path], figure: str, base_url: str) -> Iterator[list[Side]]:
    with ExitStack() as stack:
        opened = []
        for checkout in checkouts:
            opened.append(Side(checkout, figure, base_url))
            stack.callback(opened[-1].close)
        yield opened


def measure(figure: Figure, other: Path, rounds: int, base_url: str) -> list[tuple[Cost, Cost]]:
    """The costs of both checkouts, round by round: the other's, then this one's."""
    with sides([other, ROOT], figure.name, base_url) as (base, now):
        for side in (base, now):
            side.turn(figure.count)  # warm
        costs = []
        for number in range(rounds):
            if number % 2:
                after = now.turn(figure.count)
                costs.append((base.turn(figure.count), after))
            else:
                costs.append((base.turn(figure.count), now.turn(figure.count)))
        return costs


def row(figure: Figure, costs: Sequence[tuple[Cost, Cost]]) -> str:
    """One line of the table."""
    before, after = zip(*((base.of(figure), now.of(figure)) for base, now in costs), strict=True)
    ratios = [now / base for base, now in zip(before, after, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    shown = [f"{statistics.median(values):.3f}" for values in (before, after)]
    faults = [f"{statistics.median(cost.faults for cost in side):.0f}" for side in zip(*costs, strict=True)]
    return (
        f"{figure.what:<52} {figure.by:>4} {shown[0]:>8} {shown[1]:>8} ms  {middle:5.3f} ({low:.3f} to {high:.3f})"
        f"  {faults[0]:>5} {faults[1]:>5}"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--against", type=Path, required=True, help="another checkout of this project")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each checkout (default: 20)")
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"some of {', '.join(FIGURES)} (default: all)")
    options = parser.parse_args(arguments)
    other = options.against.resolve()
    if not (other / "trioagent" / "__init__.py").exists():
        parser.error(f"{str(other)!r} is no checkout of this project: it has no trioagent/__init__.py")
    if unknown := [name for name in options.figures if name not in FIGURES]:
        parser.error(f"there is no figure {unknown[0]!r}; there are {', '.join(FIGURES)}")
    for checkout in (other, ROOT):
        write_bytecode(checkout)
    print(machine())
    print(f"{'':<52} {'':>4} {'other':>8} {'this':>8}     ratio (quartiles)       faults")
    with model_server(0.0, answer) as base_url:
        for name in options.figures or FIGURES:
            figure = FIGURES[name]
            print(row(figure, measure(figure, other, options.rounds, base_url)), flush=True)


if __name__ == "__main__":
    main()
