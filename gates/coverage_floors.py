"""``python -m gates.coverage_floors``: the suite's last run covers enough branches of each kind of code.

Host code is all that runs in the user's process. Of the code that runs inside sandbox processes only what tests run in
their own process is seen at all, so it has no floor unless it is among the pure modules.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any

from .surface import PACKAGE, ROOT

# Decide and never wait, read a clock or touch a file: every rule there is a test without an event loop.
PURE = [
    "_circuit_breaker.py", "_config.py", "_errors.py", "_json_steps.py", "_messages.py", "_parsed_reply.py",
    "_prompt.py", "_rates.py", "_reply_parser.py", "_retry_policy.py", "_server_behaviour.py", "_turn.py",
    "_wire.py", "memory/_plan.py", "models/_decode.py", "models/_encode.py", "models/_json_in_text.py",
    "models/_sse.py", "sft/_checks.py", "tools/*.py",
]  # fmt: skip
GUEST = ["sandbox/_guest/*", "models/offline_rules/library/*"]
# Not traced in the suite (see pyproject.toml), but in a run of these tests alone; without those that count the sizes of
# steps, which take half of the time under a tracer and reach no other line.
APART = {"_json_steps.py": ("tests/test_json_steps.py", "-k", "not bound")}
FLOORS = {"pure": 95.0, "host": 90.0}


def kind(path: str) -> str:
    """Which floor holds for a file, its path being relative to the package."""
    if any(fnmatch(path, pattern) for pattern in PURE):
        return "pure"
    return "guest" if any(fnmatch(path, pattern) for pattern in GUEST) else "host"


def percent(summaries: list[dict[str, Any]]) -> float:
    """Lines and branches together, as `coverage report` counts them."""
    whole = sum(each["num_statements"] + each["num_branches"] for each in summaries)
    covered = sum(each["covered_lines"] + each["covered_branches"] for each in summaries)
    return 100 * covered / whole if whole else 0.0


def measured_apart(path: str, tests: Sequence[str]) -> dict[str, Any]:
    """The summary of one file, of a run of its own tests."""
    with tempfile.TemporaryDirectory() as folder:
        where = ["--rcfile=/dev/null", f"--data-file={folder}/coverage"]
        run = [*where, "--branch", f"--include={PACKAGE / path}", "-m", "pytest", "-q", *tests]
        ran = subprocess.run(
            [sys.executable, "-m", "coverage", "run", *run], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if ran.returncode:
            sys.exit(f"{tests[0]} failed:\n{ran.stdout}{ran.stderr}")
        (summary,) = _summaries(*where).values()
        return summary


def _summaries(*options: str) -> dict[str, dict[str, Any]]:
    """By path, relative to the package."""
    made = subprocess.run(
        [sys.executable, "-m", "coverage", "json", "-q", "-o", "-", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        sys.exit(f"no coverage to read; run the suite with --cov first:\n{made.stdout}{made.stderr}")
    return {path.removeprefix("trioagent/"): each["summary"] for path, each in json.loads(made.stdout)["files"].items()}


def main() -> int:
    files = _summaries() | {path: measured_apart(path, tests) for path, tests in APART.items()}
    failed = False
    for name, floor in FLOORS.items():
        group = {path: summary for path, summary in files.items() if kind(path) == name}
        found = percent(list(group.values()))
        print(f"branch coverage of {name} code: {found:.1f} % of {len(group)} files, at least {floor:g} % wanted")
        if found < floor:
            failed = True
            worst = sorted(group, key=lambda path: percent([group[path]]))[:15]
            for path in worst:
                print(f"  {percent([group[path]]):5.1f} %  {path}  lines {group[path]['missing_lines']} missing")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
