"""Run a test program as a plain user, when the tests themselves run as root.

The checkout, its environment and the interpreter may all lie where only root can read (below /root, say), so they are
copied to a folder that everybody can read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

NOBODY = 65534
CHECKOUT = Path(__file__).parents[2]
_SKIPPED = shutil.ignore_patterns(
    "test", "tests", "idlelib", "tkinter", "site-packages", "config-*", "ensurepip", "*.a"
)
# What the package needs to run, by the names of its own dependencies and theirs.
_DEPENDENCIES = """
anyio async_generator attr attrs cattr cattrs certifi click h11 httpcore httpx idna markdown_it mdurl outcome pygments
rich sniffio sortedcontainers trio trio_util typing_extensions.py
""".split()


@attrs.frozen
class PlainUser:
    python: Path
    environment: dict[str, str]
    home: Path

    def run(self, module: str, *arguments: str, groups: Sequence[int] = ()) -> subprocess.CompletedProcess[str]:
        """Run ``python -m module`` as user 65534 (and with more *groups*) and return how it ended."""
        return subprocess.run(
            [self.python, "-m", module, *arguments],
            env=self.environment,
            cwd=self.home,
            user=NOBODY,
            group=NOBODY,
            extra_groups=groups,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


@contextmanager
def plain_user_python() -> Iterator[PlainUser]:
    """A copy of this checkout, its dependencies and its interpreter, for a plain user to run."""
    with tempfile.TemporaryDirectory(prefix="plain-user-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        python = _copied_interpreter(folder / "python")
        library = folder / "lib"
        library.mkdir()
        for source in ("trioagent", "tests"):
            shutil.copytree(CHECKOUT / source, library / source, ignore=shutil.ignore_patterns("__pycache__"))
        site = Path(sysconfig.get_path("purelib"))
        for dependency in _DEPENDENCIES:
            origin = site / dependency
            if origin.is_dir():
                shutil.copytree(origin, library / dependency)
            elif origin.exists():
                shutil.copy(origin, library / dependency)
        home = folder / "home"
        home.mkdir(mode=0o700)
        os.chown(home, NOBODY, NOBODY)
        environment = {
            "PYTHONPATH": str(library),
            "LD_LIBRARY_PATH": str(folder / "python" / "lib"),
            "TMPDIR": str(home),
            "HOME": str(home),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        yield PlainUser(python, environment, home)


def _copied_interpreter(target: Path) -> Path:
    base = Path(sys.base_prefix)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (target / "bin").mkdir(parents=True)
    shutil.copy(os.path.realpath(sys.executable), target / "bin" / version)
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, target / library.relative_to(base), ignore=_SKIPPED, symlinks=False)
    for shared in (base / "lib").glob("libpython*.so*"):
        shutil.copy(shared, target / "lib")
    return target / "bin" / version
