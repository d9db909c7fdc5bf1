"""Small programs of the kinds written for the package `agent`, run as processes, from a folder of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from trioagent.testing import ModelRequest, ModelServer

from .support import SECONDS, environment, model_server

pytestmark = pytest.mark.real

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parent.parent.parent


def answer(request: ModelRequest) -> str:
    """A memory agent that notes what it is told and looks up what it is asked, a judge and a persona."""
    said = request.messages[-1]["content"]
    if said.startswith("JUDGE"):
        return f"<judgment>{'CORRECT' if 'Paris' in said.partition('should')[0] else 'INCORRECT'}</judgment>"
    if said.startswith("SAY "):
        return said.removeprefix("SAY ")
    if said.startswith("<result>"):
        return f"<think>done</think>\n<python></python>\n<reply>I see: {said[9:80]}</reply>"
    if said.startswith("Thank you"):
        return "<think>the end</think>\n<python></python>\n<reply>Goodbye.</reply>"
    if said.endswith("?"):
        return "<think>look</think>\n<python>\nuser = read_file('user.md')\n</python>"
    return f"<think>note</think>\n<python>\nok = create_file('user.md', {said!r})\n</python>"


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server(answer) as running:
        yield running


def command(name: str, folder: Path) -> list[str]:
    """The program, copied to *folder*: nothing of this project is beside it."""
    script = folder / f"{name}.py"
    script.write_text((PROGRAMS / f"{name}.py").read_text())
    return [sys.executable, "-W", "error", "-m", "trioagent.compat", str(script)]


def where(server: ModelServer, folder: Path) -> dict[str, str]:
    address = urlsplit(server.base_url)
    env = {"VLLM_HOST": str(address.hostname), "VLLM_PORT": str(address.port), "PYTHONPATH": str(ROOT)}
    return environment(folder, **env)


def run(name: str, server: ModelServer, folder: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(name, folder),
        input=given,
        capture_output=True,
        text=True,
        cwd=folder,
        env=where(server, folder),
        timeout=3 * SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_chat_in_the_terminal(server: ModelServer, tmp_path: Path) -> None:
    out = run("chat_cli", server, tmp_path, "I live in Paris.\nWhere do I live?\n").stdout.splitlines()
    assert [line for line in out if line.startswith("[you]")] == ["[you] I live in Paris.", "[you] Where do I live?"]
    assert "[environment] {'ok': True}" in out  # as driaforall/mem-agent was trained
    assert "I see: {'user': 'I live in Paris.'}" in "\n".join(out)
    ends = [line for line in out if line.startswith("seen while")]
    assert ends[0] == "seen while it went on: True errors: []"  # the second chat may be over before the program looks
    assert len(ends) == 2 and ends[1].endswith("errors: []")
    assert (tmp_path / "notes of mine" / "user.md").read_text() == "I live in Paris."


def test_a_server_over_standard_input(server: ModelServer, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / ".memory_path").write_text(f"{tmp_path / 'mine'}\n")
    requests = [
        {"id": 1, "method": "tools/list"},
        {"id": 2, "method": "tools/call", "params": {"arguments": {"question": "I live in Oslo."}}},
        {"id": 3, "method": "tools/call", "params": {"arguments": {"question": "Where do I live?"}}},
    ]
    done = run("mcp_stdio", server, tmp_path, "".join(f"{json.dumps(one)}\n" for one in requests))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["id"] for one in answers] == [1, 2, 3]
    assert "I live in Oslo." in answers[2]["result"]["content"][0]["text"]
    assert (tmp_path / "mine" / "user.md").read_text() == "I live in Oslo."
    assert "progress 1" in done.stderr


def test_a_server_over_http(server: ModelServer, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*command("mcp_http", tmp_path), str(tmp_path / "mine")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=where(server, tmp_path),
    )
    with process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            replies = []
            for question in ("I live in Lima.", "Where do I live?"):
                body = json.dumps({"question": question}).encode()
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", body, SECONDS) as response:
                    replies.append(json.load(response))
            assert all(reply["success"] for reply in replies)
            assert "I live in Lima." in replies[1]["result"]
            _, errors = process.communicate(timeout=SECONDS)
            assert (process.returncode, errors) == (0, "")
        finally:
            process.kill()


def test_an_evaluation(server: ModelServer, tmp_path: Path) -> None:
    """The agents' relative memories are in the current folder, as in the version that it was written for."""
    for name, city in (("a", "Paris"), ("b", "Rome")):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "user.md").write_text(f"I live in {city}.")
    (tmp_path / ".env").write_text("AGENT_MEMORY_ROOT=.\n")
    done = run("evaluate", server, tmp_path)
    assert [score["is_correct"] for score in json.loads(done.stdout)] == ["CORRECT", "INCORRECT"]
    (warning,) = done.stderr.splitlines()
    assert warning.startswith("Agent.chat blocks the running event loop")


def test_training_conversations(server: ModelServer, tmp_path: Path) -> None:
    assert json.loads(run("generate", server, tmp_path).stdout) == [True, True]
    (rows,) = tmp_path.glob("output/sft/*/conversations.jsonl")
    assert len(rows.read_text().splitlines()) == 2


def test_memories_for_training(server: ModelServer, tmp_path: Path) -> None:
    out = run("setup_memory", server, tmp_path).stdout.splitlines()
    assert out[1] == "{'user': '# Ada\\n- lives_in: Paris\\n', 'ok': True}"
    assert "user.md" not in out[3]
    assert out[4] == "['entities', 'user.md']"
    assert json.loads(out[5])[0] is None
    assert "ZeroDivisionError" in json.loads(out[5])[1]
    assert out[6] == "False"


def test_episodes_for_training(server: ModelServer, tmp_path: Path) -> None:
    *rows, count = (json.loads(line) for line in run("train", server, tmp_path).stdout.splitlines())
    assert count == 16
    assert {row["name"]: (row["reward"], row["kept"], len(row["results"])) for row in rows} == {
        "reads": (1.0, True, 1),
        "writes": (2.0, True, 1),
        "fails": (0.0, True, 1),
        "never replies": (0.0, True, 5),
    }
    assert rows[0]["results"] == ["<result>\n{'user': '# Ada\\n- lives_in: Paris\\n'}\n</result>"]
    assert "{'guest': True, 'size': 42}" in rows[1]["results"][0]
    assert "ValueError: True" in rows[2]["results"][0]
    assert list(tmp_path.iterdir()) == [tmp_path / "train.py"]
