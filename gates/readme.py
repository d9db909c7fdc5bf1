"""``python -m gates.readme``: every command of the README as a stranger pastes it, from installing on, in a copy.

All ``sh`` blocks are one shell session, in which a command that fails ends it. Only ``make test`` is left out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .surface import ROOT

# What a fresh checkout does not have.
_MADE = shutil.ignore_patterns(
    ".git", ".venv*", ".bench", ".*_cache", "__pycache__", ".coverage*", "dist", "memories", "runs"
)
_CONFIGURES = ("TRIOAGENT", "OPENROUTER", "OPENAI", "VLLM", "VIRTUAL_ENV", "PIP_CONSTRAINT", "MAKE", "MFLAGS")


def commands(page: Path = ROOT / "README.md") -> str:
    """The page's ``sh`` blocks as one script."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return "".join(re.sub(r"^make test\b.*\n", "", block, flags=re.MULTILINE) for block in blocks)


def main() -> int:
    env = {name: value for name, value in os.environ.items() if not name.startswith(_CONFIGURES)}
    env["PATH"] = os.pathsep.join(part for part in env["PATH"].split(os.pathsep) if not part.startswith(sys.prefix))
    with tempfile.TemporaryDirectory(prefix="readme-") as folder:
        copy = Path(folder) / "trioagent"
        shutil.copytree(ROOT, copy, ignore=_MADE)
        done = subprocess.run(["bash", "-euxo", "pipefail", "-c", commands()], cwd=copy, env=env, check=False)
    print(f"the README's commands {'ran' if done.returncode == 0 else f'FAILED with status {done.returncode}'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
