"""The programs of docs/how-to/embed.md as themselves: gunicorn, Django, FastAPI, Celery and a Jupyter kernel.

They are run by the interpreter that TRIOAGENT_EMBED_PYTHON names, which has them: ``make test-embed`` makes it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .support import alive, descendants, environment
from .test_embed_page import RECIPES

PYTHON = os.environ.get("TRIOAGENT_EMBED_PYTHON", "")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not PYTHON, reason="the programs are in an environment of their own: make test-embed"),
]

SECONDS = 120
"""Far above what anything here needs."""
ROOT = Path(__file__).parents[2]
STUCK = "<think>x</think>\n<python>\ncreate_file('user.md', 'torn')\nwhile True: pass\n</python>"


def recipe(mark: str) -> str:
    """The page's block with these words in it."""
    found: list[str] = [one for one in RECIPES if mark in one]
    assert len(found) == 1
    return found[0]


def until(condition: Any, what: str) -> Any:
    end = time.monotonic() + SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.05)
    return value


@contextmanager
def running(folder: Path, *arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A program of that environment; ended by SIGTERM, after which nothing of it may be left."""
    log = open(folder / "log.txt", "w+")  # noqa: SIM115 - closed below
    process = subprocess.Popen(
        [PYTHON, "-m", *arguments],
        cwd=folder,
        env=environment(folder, PYTHONPATH=f"{ROOT}:{folder}", TRIOAGENT_MODEL="offline-rules", **env),
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
        below = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)
        until(lambda: not alive(below), "the end of all that it started")
    except BaseException as error:
        log.seek(0)
        error.add_note(log.read()[-4000:])
        raise
    finally:
        process.kill()
        process.wait()
        log.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def posted(url: str, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, None


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=SECONDS).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def use_chat_endpoint(base: str) -> None:
    until(lambda: answers(f"{base}/ready"), "an answer")
    assert "Rome" in posted(f"{base}/chat", {"user": "ada", "message": "I live in Rome."})[1]["reply"]
    code, said = posted(f"{base}/chat", {"user": "ada", "message": "Where do I live?"})
    assert (code, "Rome" in said["reply"]) == (200, True)


VALUES = """

from trioagent.compat import AgentResponse, ChatMessage


@app.post("/values", response_model=AgentResponse)
async def values(messages: list[ChatMessage], message: ChatMessage):
    return AgentResponse(thoughts=message.role.value, reply=" ".join(said.content for said in [*messages, message]))
"""


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn"])
def test_fastapi(tmp_path: Path, server: str) -> None:
    (tmp_path / "app.py").write_text(recipe("FastAPI(") + VALUES)
    port = free_port()
    words = (
        ["uvicorn", "app:app", "--port", str(port)]
        if server == "uvicorn"
        else ["gunicorn", "-k", "asgi", "-b", f"127.0.0.1:{port}", "app:app"]
    )
    with running(tmp_path, *words):
        use_chat_endpoint(f"http://127.0.0.1:{port}")
        hello, wrong = {"role": "user", "content": "hello"}, {"role": "nobody", "content": ""}
        url = f"http://127.0.0.1:{port}/values"
        assert posted(url, {"messages": [hello], "message": hello}) == (
            200,
            {"thoughts": "user", "python_block": None, "reply": "hello hello"},
        )
        assert posted(url, {"messages": [], "message": wrong})[0] == 422


DJANGO = """
import json

import django.conf
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path

from trioagent.compat import Agent

django.conf.settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="test", MIDDLEWARE=[])


def chat(request):
    said = json.loads(request.body)
    return JsonResponse({"reply": Agent(memory_path=said["user"]).chat(said["message"]).reply})


urlpatterns = [path("chat", chat), path("ready", lambda request: HttpResponse("yes"))]
application = get_wsgi_application()
"""


@pytest.mark.parametrize("more", [["-k", "sync", "-w", "2"], ["-k", "gthread", "--threads", "4"], ["--preload"]])
def test_django_under_gunicorn(tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "notes_site.py").write_text(DJANGO)
    (tmp_path / "gunicorn.conf.py").write_text(recipe("def post_worker_init"))
    port = free_port()
    with running(tmp_path, "gunicorn", *more, "-b", f"127.0.0.1:{port}", "notes_site:application"):
        use_chat_endpoint(f"http://127.0.0.1:{port}")


CELERY = """
from celery import Celery

app = Celery("tasks", broker="filesystem://", backend="file://{folder}/results")
app.conf.broker_transport_options = {{
    "data_folder_in": "{folder}/queue", "data_folder_out": "{folder}/queue", "control_folder": "{folder}/control"
}}

{recipe}

answer = app.task(answer)


@app.task(soft_time_limit=2)
def stuck():
    from celery.exceptions import SoftTimeLimitExceeded
    from trioagent.testing import ScriptedModel

    try:
        Agent(memory_path="stuck", model=ScriptedModel([{stuck!r}])).chat("go")
    except SoftTimeLimitExceeded:
        return "ended"
"""
ASK = "import tasks, sys; print(getattr(tasks, sys.argv[1]).delay(*sys.argv[2:]).get(timeout=90))"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_celery(tmp_path: Path, pool: str) -> None:
    body, _, _ = recipe("def answer").rpartition("\nprint(")
    for name in ("results", "queue", "control"):
        (tmp_path / name).mkdir()
    (tmp_path / "tasks.py").write_text(CELERY.format(folder=tmp_path, recipe=body, stuck=STUCK))

    def ask(*arguments: str) -> str:
        done = subprocess.run(
            [PYTHON, "-c", ASK, *arguments],
            cwd=tmp_path,
            env=environment(tmp_path, PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    with running(tmp_path, "celery", "-A", "tasks", "worker", "--pool", pool, "--concurrency", "2"):
        assert "Oslo" in ask("answer", "ada", "I live in Oslo.")
        assert "Oslo" in ask("answer", "ada", "Where do I live?")
        if pool == "prefork":  # threads have no soft limits
            assert ask("stuck") == "ended\n"
            assert not (tmp_path / "memory" / "stuck" / "user.md").exists()


NOTEBOOK = """
import json, os, nbformat, signal, threading, time
from nbclient import NotebookClient

cells = json.load(open("cells.json"))
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
client = NotebookClient(book, timeout=90, allow_errors=True)
with client.setup_kernel():
    for number, cell in enumerate(book.cells):
        if number == 3:
            def interrupt():
                time.sleep(3)
                os.kill(client.km.provisioner.pid, signal.SIGINT)  # as the button does
            threading.Thread(target=interrupt).start()
        client.execute_cell(cell, number)
        print(number, [output.get("text") or output.get("ename") or output.get("data") for output in cell.outputs])
"""


def test_notebook(tmp_path: Path) -> None:
    cells = [
        "from trioagent.compat import Agent, AsyncAgent\nfrom trioagent.testing import ScriptedModel",
        "Agent(memory_path='ada').chat('I live in Lima.').reply",
        "(await AsyncAgent(memory_path='ada').chat('Where do I live?')).reply",
        f"Agent(memory_path='x', model=ScriptedModel([{STUCK!r}])).chat('go')",
        "import os; os.path.exists('memory/x/user.md')",
    ]
    (tmp_path / "cells.json").write_text(json.dumps(cells))
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    done = subprocess.run(
        [PYTHON, "notebook.py"],
        cwd=tmp_path,
        env=environment(tmp_path, PYTHONPATH=str(ROOT), TRIOAGENT_MODEL="offline-rules"),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    shown = dict(re.findall(r"^(\d) (.*)$", done.stdout, re.MULTILINE))
    assert "Lima" in shown["1"] and "Lima" in shown["2"]
    assert "KeyboardInterrupt" in shown["3"]
    assert "False" in shown["4"]
