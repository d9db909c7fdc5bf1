"""``python -m gates.pythons``: the core of the test suite on every interpreter from 3.11 to 3.14 that this machine has.

Each interpreter gets an environment of its own, ``.venv-3.N``, kept for the next run. The core is what an interpreter
may change: sandbox processes and what is imported in them, file systems, sockets and TLS, tasks and cancellation,
pickles, decoding, and one run of each kind. All of them together are to take no more than 12 minutes on two quiet
cores. The rest (attacks, kills at every step, injected disk faults, fuzzing, benchmarks, what the pages show) is left
to the suite on one of them.

Tests that fail run once more by themselves, and only what fails again counts: an interpreter's difference fails each
time. What passed the second time is named at the end, as unsteady.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .surface import ROOT

MINORS = range(11, 15)
CORE = [
    "tests/batch/test_run_batch.py",
    "tests/cli/test_run.py",
    "tests/compat/test_chats.py",
    "tests/memory",
    "tests/models",
    "tests/runs",
    "tests/sandbox",
    "tests/server/test_rest.py",
    "tests/sft/test_generate.py",
    "tests/test_agent.py",
    "tests/test_descriptors.py",
    "tests/test_errors.py",
    "tests/test_event_stream.py",
    "tests/test_events.py",
    "tests/test_exceptions.py",
    "tests/test_files.py",
    "tests/test_json_steps.py",
    "tests/test_nursery_runner.py",
    "tests/test_reply_parser.py",
    "tests/test_wire.py",
    "tests/tools",
]
LEFT_OUT = [
    "tests/memory/test_crash.py",
    "tests/sandbox/test_cancel_storm.py",
    "tests/sandbox/test_corpus.py",
    "tests/sandbox/test_monty_corpus.py",
    "tests/sandbox/test_spares.py",
    "tests/tools/test_index.py::test_an_index_changes_no_answer",
]
_VERSION = "import sys; print(sys.version_info[0], sys.version_info[1], sys.implementation.name)"


def interpreters() -> dict[int, str]:
    """For each minor version of CPython 3 that is here, an interpreter that runs."""
    found: dict[int, str] = {}
    for minor in MINORS:
        working = (path for path in _candidates(minor) if _version(path) == f"3 {minor} cpython")
        if path := next(working, None):
            found[minor] = path
    return found


def _candidates(minor: int) -> Iterator[str]:
    if sys.version_info[:2] == (3, minor):
        yield str(Path(sys.base_prefix) / "bin" / f"python3.{minor}")
    if on_path := shutil.which(f"python3.{minor}"):
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from (str(path) for path in sorted(pyenv.glob(f"versions/3.{minor}.*/bin/python3.{minor}")))


def _version(path: str) -> str:
    """What an interpreter says it is; "" if it does not run (a pyenv shim may stand for nothing)."""
    try:
        return subprocess.run([path, "-c", _VERSION], capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def environment(minor: int, interpreter: str) -> Path:
    """The Python of an environment with the package and its tests' needs, made anew when either has changed."""
    folder = ROOT / f".venv-3.{minor}"
    python, stamp = folder / "bin" / "python", folder / ".installed"
    inputs = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    if stamp.exists() and stamp.stat().st_mtime >= max(path.stat().st_mtime for path in inputs):
        return python
    quiet = ["--quiet", "--disable-pip-version-check"]
    # The pip at hand fills it, since some distributions' Python comes without one.
    subprocess.run([interpreter, "-m", "venv", "--clear", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", *quiet, "-e", ".[test]"]
    subprocess.run(pip, cwd=ROOT, env={**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")}, check=True)
    stamp.touch()
    return python


def main() -> int:
    here = interpreters()
    print(f"interpreters found: {', '.join(f'{path} (3.{minor})' for minor, path in here.items())}", flush=True)
    ignored = [f"--{'deselect' if '::' in name else 'ignore'}={name}" for name in LEFT_OUT]
    results: dict[int, tuple[str, float]] = {}
    for minor, interpreter in here.items():
        started = time.monotonic()
        python = environment(minor, interpreter)
        print(f"\nPython 3.{minor}", flush=True)
        cache = python.parent.parent / ".pytest_cache"
        pytest = [str(python), "-m", "pytest", "-q", "-o", f"cache_dir={cache}", *CORE, *ignored]
        outcome = _outcome([*pytest, "-n", "3", "--dist", "worksteal"], [*pytest, "--last-failed"], cache)
        results[minor] = (outcome, time.monotonic() - started)
    for minor, (outcome, seconds) in results.items():
        print(f"Python 3.{minor}: {outcome} in {seconds:.0f} s")
    return int(not results or any(outcome.startswith("FAILED") for outcome, _ in results.values()))


def _outcome(suite: list[str], again: list[str], cache: Path) -> str:
    """What the suite's run, and if tests failed a second run of those alone, come to."""
    shutil.rmtree(cache, ignore_errors=True)
    status = subprocess.run(suite, cwd=ROOT, check=False).returncode
    if status == 0:
        return "passed"
    failed = cache / "v" / "cache" / "lastfailed"
    if status != 1 or not failed.exists():  # 1: some tests failed. Anything else: the run itself did.
        return f"FAILED, status {status}"
    unsteady = ", ".join(json.loads(failed.read_text()))
    if status := subprocess.run(again, cwd=ROOT, check=False).returncode:
        return f"FAILED twice, status {status}"
    return f"passed, but unsteady: {unsteady};"


if __name__ == "__main__":
    sys.exit(main())
