"""``python -m benchmarks structure [FOLDER or REVISION ...]``: the size of each package, side by side.

A folder is a checkout; anything else is a revision of this repository. Without arguments: this checkout.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import attrs

from gates.surface import exported_names

ROOT = Path(__file__).parent.parent
_SHORT = 70


@attrs.frozen
class Size:
    """What one package has, those inside it counted too.

    Attributes:
        files, lines: of Python, blank lines and comments included.
        short: files with fewer than 70 lines, ``__init__`` apart.
        names: what its ``__init__`` exports.
    """

    files: int = 0
    lines: int = 0
    short: int = 0
    names: int = 0


def measure(checkout: Path) -> dict[str, Size]:
    """The size of ``trioagent``, of each package in it, of its modules at the top, and of the tests."""
    package = checkout / "trioagent"
    found = {"trioagent": size(package)}
    for folder in sorted(path.parent for path in package.glob("*/__init__.py")):
        found[f"trioagent/{folder.name}"] = size(folder)
        for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
            found[f"trioagent/{folder.name}/{inner.name}"] = size(inner)
    found["trioagent/*.py"] = size(package, "*.py")
    found["tests"] = size(checkout / "tests")
    return found


def size(folder: Path, pattern: str = "**/*.py") -> Size:
    counts = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in folder.glob(pattern)}
    init = folder / "__init__.py"
    return Size(
        files=len(counts),
        lines=sum(counts.values()),
        short=sum(lines < _SHORT for path, lines in counts.items() if path.name != "__init__.py"),
        names=len(exported_names(init)) if init.exists() else 0,
    )


@contextmanager
def checkout_of(name: str) -> Iterator[Path]:
    """The folder of that name, or the revision's files in a temporary one."""
    if Path(name).is_dir():
        yield Path(name)
        return
    command = ["git", "archive", "--format=tar", name, "trioagent", "tests"]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory(prefix="structure-") as folder:
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        yield Path(folder)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks structure", description=__doc__)
    parser.add_argument("checkouts", nargs="*", default=[str(ROOT)])
    found = {}
    for name in parser.parse_args().checkouts:
        with checkout_of(name) as checkout:
            found[name] = measure(checkout)
    packages = sorted({package for sizes in found.values() for package in sizes})
    print(f"{'':32}" + "".join(f"  {Path(name).name[:34]:^36}" for name in found))
    print(f"{'package':32}" + f"  {'files':>6} {'< 70 lines':>11} {'lines':>8} {'exports':>8}" * len(found))
    for package in packages:
        row = f"{package:32}"
        for sizes in found.values():
            each = sizes.get(package)
            row += f"  {each.files:6} {each.short:11} {each.lines:8} {each.names:8}" if each else " " * 38
        print(row.rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
