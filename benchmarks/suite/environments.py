"""Virtual environments of the peers, made once from exact pins: ``python -m benchmarks peers``."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from .server import ROOT
from .systems import SYSTEMS

CACHE = ROOT / ".bench"
"""Where environments and results are kept; it hides itself from git and from tools that ask git."""
_PINS = Path(__file__).with_name("pins")
_REASON_CHARS = 400


class NotInstalledError(Exception):
    """A peer's environment cannot be made here; the text says why."""


def interpreter(pins: str, cache: Path = CACHE) -> str:
    """The Python that has a peer installed; made if it is not there yet. For "", this interpreter.

    Packages come from wherever pip is set up to take them.

    Raises:
        NotInstalledError: pip or venv fail.
    """
    if not pins:
        return sys.executable
    requirements = _PINS / f"{pins}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:10]
    folder = cache_folder("venvs", cache) / f"{pins}-{sys.version_info.major}.{sys.version_info.minor}-{digest}"
    python, ready = folder / "bin" / "python", folder / ".installed"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        # Some distributions ship Python without ensurepip: then another pip fills the environment.
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
        install = ["install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
        pip = sys.executable if find_spec("pip") else str(Path(sys.base_prefix, "bin", "python3"))
        _run([pip, "-m", "pip", "--python", str(python), *install])
        ready.touch()
    return str(python)


def cache_folder(name: str, cache: Path = CACHE) -> Path:
    """A folder of the cache, made if it is not there."""
    folder = cache / name
    folder.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    return folder


def _run(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        errors = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")] or [ended.stderr.strip()]
        raise NotInstalledError(" ".join(errors)[:_REASON_CHARS] or f"{command[:4]} ended with {ended.returncode}")


def main() -> None:
    """Make all environments, so that a run need not."""
    failed = 0
    for pins in sorted({system.pins for system in SYSTEMS} - {""}):
        try:
            print(f"{pins}: {interpreter(pins)}")
        except NotInstalledError as error:
            failed = 1
            print(f"{pins}: cannot be installed: {error}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
