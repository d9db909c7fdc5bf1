"""``trioagent doctor``."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import Run
from .support import command, environment

pytestmark = pytest.mark.real


def test_what_works_here(run: Run) -> None:
    env = {
        "TRIOAGENT_MODEL": "my-model",
        "TRIOAGENT_BASE_URL": "http://localhost:8000/v1",
        "TRIOAGENT_API_KEY": "sk-secret",
    }
    said = run("doctor", env=env)
    assert (said.code, said.err) == (0, "")
    assert "  ok   a block: ran confined" in said.out
    assert "  ok   TRIOAGENT_API_KEY: set\n" in said.out
    assert "  ok   OPENROUTER_API_KEY: not set\n" in said.out
    assert "  ok   in effect: my-model at http://localhost:8000/v1, with a key\n" in said.out
    assert "secret" not in said.out
    assert "FAIL" not in said.out


def test_a_key_in_the_address_is_refused_and_not_shown(run: Run) -> None:
    env = {"TRIOAGENT_MODEL": "my-model", "TRIOAGENT_BASE_URL": "http://me:secret@localhost:8000/v1?key=secret"}
    said = run("doctor", env=env)
    assert "  ok   TRIOAGENT_BASE_URL: http://localhost:8000/v1\n" in said.out
    assert "  FAIL in effect: " in said.out
    assert "secret" not in said.out + said.err


def test_settings_that_mean_no_model_are_named_with_advice(run: Run) -> None:
    said = run("doctor", env={"TRIOAGENT_MODEL": "gpt-9"})
    assert said.code == 0  # the sandbox works
    assert "  FAIL in effect: model: 'gpt-9' is not known" in said.out
    assert "what to do: " in said.out


def test_where_no_sandbox_works(home: Path) -> None:
    """With no more user namespaces to be had, which is how locked-down machines look."""
    unshare = shutil.which("unshare")
    limits = Path("/proc/sys/user/max_user_namespaces")
    if unshare is None or not limits.exists():
        pytest.skip("needs unshare(1) and a kernel with user namespaces")
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    # The limit is set in a user namespace of its own, which hands it down to those made in it.
    inside = [unshare, "--user", "--map-root-user", "--", "/bin/sh", "-c", script, "sh"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no limit can be set here")
    ran = [
        subprocess.run(
            [*inside, *command(*args)], capture_output=True, text=True, env=environment(home), cwd=home, check=False
        )
        for args in (("doctor",), ("run", "hi", "--memory", "notes", "--model", "offline-rules"))
    ]
    assert [done.returncode for done in ran] == [1, 1]
    assert "FAIL namespaces: " in ran[0].stdout
    assert "what to do: " in ran[0].stdout
    assert "No sandbox works here" in ran[0].stdout
    assert ran[1].stderr.startswith("error: no sandbox for model-written code works on this machine")
    assert len(ran[1].stderr.splitlines()) == 1
    assert not os.path.exists(home / "notes" / "user.md")
