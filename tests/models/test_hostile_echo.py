"""A key goes into one header and nowhere else: not into a file, a log line, an error, a repr or a traceback."""

from __future__ import annotations

import json
import logging
import os
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
import trio

from trioagent import Agent
from trioagent._config import BatchConfig, ModelConfig
from trioagent._errors import ModelError
from trioagent.batch import Job, run_batch
from trioagent.models import Model
from trioagent.models._http import _without
from trioagent.runtime import open_runtime
from trioagent.testing import Fault, Say, Wire
from trioagent.testing._server import Answer, ModelRequest

from .support import ONCE, ask, model_before, serving

pytestmark = pytest.mark.real

KEY = "sk-proj/very+secret=0123456789abcdef"
BLOCK = "<think>x</think><python>\nimport os\nenv = str(dict(os.environ))\nopen('user.md', 'w').write(env)\n</python>"
REPLY = "<think>x</think><python></python><reply>Noted.</reply>"


def echoes() -> list[Answer]:
    """Every way in which a server can quote a key at us outside of an answer's own text."""
    spelled = KEY.replace("/", "\\/")
    raw = f'{{"you said": "Bearer {spelled}"}}'.encode()
    return [
        Fault.status(401, f"Incorrect API key provided: {KEY}"),
        Fault.status(400, "x" * (500 - 20) + KEY),  # shortened in the middle of it
        Fault.body(raw, status=200),
        Fault.body(b'{"pad": "' + b"x" * 180 + KEY.encode() + b'"}', status=200),
        Fault.body(f"<a href='/?key={quote(KEY, safe='')}'>".encode(), status=403, content_type="text/html"),
        Fault.events({"error": {"message": f"bad key {KEY}", "code": 403}}),
        Fault.garbage(f"{KEY}\r\n\r\n".encode()),
        Fault.garbage(f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode()),
        Wire((f"HTTP/1.1 200 OK\r\nContent-Encoding: {KEY}\r\n\r\n".encode(),), then="close"),
        Wire((f"HTTP/1.1 302 Go\r\nLocation: http://{KEY[:7]}.example/{KEY}\r\n\r\n".encode(),), then="close"),
        Fault.drop(then="reset"),
        Fault.half_body(),
    ]


def leaks(text: str) -> list[str]:
    """Pieces of the key that *text* holds, in any of its spellings."""
    spellings = (KEY, KEY.replace("/", "\\/"), quote(KEY), quote(KEY, safe=""), json.dumps(KEY)[1:-1])
    return [spelled for spelled in spellings if spelled in text or spelled[:12] in text or spelled[-12:] in text]


async def failure(model: Model) -> ModelError:
    """In a frame of its own, which shows in the traceback too."""
    with pytest.raises(ModelError) as caught:
        await ask(model)
    return caught.value


async def test_every_error_in_full(caplog: pytest.LogCaptureFixture) -> None:
    """Also where a traceback shows the local variables of each frame, as some error reporters do."""
    caplog.set_level(1)
    seen = []
    for stream in (True, False):
        async with serving(echoes()) as server:
            async with model_before(server, api_key=KEY, retry=ONCE, stream=stream) as model:
                for _ in echoes():
                    error = await failure(model)
                    seen += [repr(error), str(error), str(error.args), repr(vars(error))]
                    seen += traceback.TracebackException.from_exception(error, capture_locals=True).format()
                seen += [repr(model), str(vars(model)["_config"])]
            assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    text = "".join(seen) + caplog.text
    assert not leaks(text), [line for line in text.splitlines() if leaks(line)][:5]
    assert text.count("[API key]") > 10


async def test_nothing_that_a_run_writes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch and a chat with everything logged: journal, outputs, notes, conversations and standard output are clean.

    The block writes its whole environment into a note, and the key lies in ours.
    """
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    for name in ("", "httpx", "httpcore", "h11", "trioagent", "trio"):
        caplog.set_level(1, logger=name)
    bad = echoes()

    def answer(request: ModelRequest) -> Answer:
        said = [message["content"] for message in request.messages]
        if said[1].isdecimal():
            return bad[int(said[1])]
        return Say(REPLY if len(said) > 2 else BLOCK)

    async with serving(answer) as server:
        config = ModelConfig(base_url=server.base_url, model="any", api_key=KEY, retry=ONCE)
        async with open_runtime(model=config) as runtime:
            jobs = [
                Job(id=f"j{n}", memory=f"memories/{n}", messages=(str(n),), model=f"bad-{n}") for n in range(len(bad))
            ]  # endpoints of their own, so that each of them is asked
            jobs.append(Job(id="good", memory="memories/good", messages=("hello",)))
            impatient = BatchConfig(outage_patience=0)
            report = await run_batch(jobs, runtime=runtime, run_dir=tmp_path / "run", config=impatient)
            agent = Agent(runtime, memory_path="memories/chat")
            await agent.chat("hello")
            with pytest.warns(DeprecationWarning, match="log"):
                saved = await agent.save_conversation(log=True)
            said = repr((runtime, agent, report, config, vars(agent)))
    assert report.done == 1 and report.failed > 0 and report.failed + report.left == len(bad), report
    assert (tmp_path / "memories" / "good" / "user.md").exists() and saved.is_file()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"journal.db", "failures.jsonl", "report.json", "user.md", saved.name} <= {path.name for path in files}
    for path in files:
        assert not leaks(path.read_bytes().decode("latin-1")), path
    out, err = capfd.readouterr()
    assert not leaks(said + caplog.text + out + err)
    assert any(record.levelno <= logging.INFO for record in caplog.records)
    assert os.environ["OPENROUTER_API_KEY"] == KEY


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"a {KEY} b", "a [API key] b"),
        (f"a {KEY[:20]}", "a [API key]"),
        (f"a {KEY[:20]}…", "a [API key]"),
        (KEY.replace("/", "\\/"), "[API key]"),
        (quote(KEY, safe=""), "[API key]"),
        ("nothing of it", "nothing of it"),
        ("", ""),
    ],
)
def test_without_the_key(text: str, clean: str) -> None:
    assert _without(KEY, text) == clean


async def test_a_key_is_not_sent_to_another_port_of_the_same_host() -> None:
    """A redirect to the same host name is another server all the same."""
    async with serving(["stolen"]) as thief, serving([Fault.redirect(thief.base_url)]) as server:
        async with model_before(server, api_key=KEY, retry=ONCE) as model:
            with pytest.raises(ModelError):
                await ask(model)
        await trio.lowlevel.checkpoint()
        assert thief.served == 0
