"""Let the fuzzer loose for a while: ``python -m benchmarks.fuzz [--seconds N] [--seed N] [TARGET ...]``.

Prints cases a minute for each target; the first finding ends it, with the input and what is needed to have it again.
Without a seed each run takes other inputs.
"""

from __future__ import annotations

import argparse
import random
import sys

from tests.faults.fuzz_targets import TARGETS
from tests.faults.fuzzing import Finding, run


def main() -> int:
    names = [target.name for target in TARGETS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz")
    parser.add_argument("targets", nargs="*", choices=[*names, []], metavar="TARGET", help=", ".join(names))
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.seconds:g} s for each target")
    total = 0
    for target in TARGETS:
        if given.targets and target.name not in given.targets:
            continue
        try:
            cases = run(target, seed=given.seed, seconds=given.seconds)
        except Finding as finding:
            print(f"FOUND {finding}", file=sys.stderr)
            raise
        total += cases
        print(f"{target.name:15} {cases:9,} cases {cases / given.seconds * 60:12,.0f} a minute")
    print(f"{'all':15} {total:9,} cases, none escaped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
