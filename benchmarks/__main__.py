"""The benchmarks' one entry: ``make bench``.

python -m benchmarks              all systems side by side (``suite``), the sandbox's tiers, the streaming cut;
                                  some ten minutes
python -m benchmarks --full       everything there is, over an hour
python -m benchmarks NAME ...     one benchmark, with its own arguments
python -m benchmarks --against CHECKOUT [FIGURE ...]    this checkout and another in turns (``paired``)
"""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent
# What is reached by a short name, for being in the suite's package.
_SUITE = {
    "suite": "benchmarks.suite.compare",
    "load": "benchmarks.suite.load",
    "cut": "benchmarks.suite.cut",
    "growth": "benchmarks.suite.growth",
    "peers": "benchmarks.suite.environments",
}
_QUICK = [["load"], ["suite"], ["tiers"], ["cut"]]
_FULL = [
    ["load"],
    ["suite", "--full"],
    ["tiers"],
    ["cut"],
    ["growth"],
    ["one_agent"],
    ["many_agents"],
    ["model_requests"],
]


def names() -> dict[str, str]:
    """The module of each benchmark."""
    single = (path.stem for path in sorted(_HERE.glob("*.py")) if not path.stem.startswith("_"))
    return {**_SUITE, **{name: f"benchmarks.{name}" for name in single}}


def main(arguments: list[str]) -> int:
    """Run what argv names; the exit status."""
    match arguments:
        case [] | ["--full"]:
            # A process each: what one leaves in its memory would be in another's figures.
            todo = _FULL if arguments else _QUICK
            return max(
                subprocess.run([sys.executable, "-m", "benchmarks", *part], check=False).returncode for part in todo
            )
        case ["--against", *_]:
            return main(["paired", *arguments])
        case [name, *_] if name in names():
            sys.argv = arguments
            runpy.run_module(names()[name], run_name="__main__", alter_sys=True)
            return 0
        case _:
            print(f"{__doc__}\nNAME is one of {', '.join(names())}.")
            return 0 if arguments in (["--help"], ["-h"]) else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
