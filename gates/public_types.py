"""``python -m gates.public_types``: every public name has a complete type, so that users' own type checkers know it.

`basedpyright --verifytypes` says "0 %" and little else where it does not find the package, so it is told which
environment to look in, and what it has seen is compared with the names that `trioagent` exports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .surface import exported_names

_COMMAND = ["-m", "basedpyright", "--verifytypes", "trioagent", "--ignoreexternal", "--outputjson"]


def report() -> dict[str, Any]:
    """What the type checker says about the installed package."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [sys.executable, *_COMMAND],
        env={**os.environ, "VIRTUAL_ENV": sys.prefix, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        loaded: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        sys.exit(f"basedpyright ended with status {done.returncode} and no report:\n{done.stdout}{done.stderr}")
    return loaded


def problems(found: dict[str, Any]) -> list[str]:
    """One line for each name without a complete type, and for each public name that was not checked."""
    symbols = found["typeCompleteness"]["symbols"]
    lines = [
        f"{symbol['name']}: {' '.join(diagnostic['message'].split())}"
        for symbol in symbols
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
        for diagnostic in symbol["diagnostics"] or [{"message": "its type is not fully known"}]
    ]
    seen = {symbol["name"].rpartition(".")[2] for symbol in symbols}
    unseen = sorted(set(exported_names()) - seen)
    if unseen:
        said = "; ".join(diagnostic["message"] for diagnostic in found["generalDiagnostics"])
        lines.append(f"not looked at: {', '.join(unseen)}{f' ({said})' if said else ''}")
    return lines


def main() -> int:
    found = report()
    wrong = problems(found)
    for line in wrong:
        print(line)
    counts = found["typeCompleteness"]["exportedSymbolCounts"]
    print(f"public types: {counts['withKnownType']} of {sum(counts.values())} exported symbols are complete")
    return bool(wrong or not counts["withKnownType"])


if __name__ == "__main__":
    sys.exit(main())
