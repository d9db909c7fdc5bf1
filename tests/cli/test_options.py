"""Request parameters, headers, prompts, profiles, proxies and keys on the command line, over real HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trioagent.testing import Fault, ModelServer, Say

from ..models.loopback_proxy import proxy
from .conftest import Run, Serve
from .support import trioagent
from .test_run import REPLY, at

pytestmark = pytest.mark.real

KEY = {"MY_KEY": "sk-of-mine"}
RUN = ("run", "hi", "--memory", "notes")


PERSONA = {
    "persona": {
        "name_surname": "Ada Holt",
        "age": 34,
        "gender": "female",
        "birthplace": {"city": "Ghent", "country": "Belgium"},
        "occupation": "baker",
        "detailed_backstory": "x",
        "relationships": [],
    },
    "facts": [{"fact_description": "I live in Porto."}],
}


def write_config(home: Path, text: str, folder: str = ".config/trioagent") -> None:
    path = home / folder / "trioagent.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


async def test_parameters_headers_and_prompt_go_to_the_server(home: Path, serve: Serve) -> None:
    server = await serve(REPLY)
    (home / "more.txt").write_text("Answer in Dutch.\n")
    done = await trioagent(
        *RUN, *at(server), "-o", "temperature=0.2", "--option", "max_tokens=50", "-o", "stop=END", "-o", "top_k=20",
        "--header", "X-Team: memory", "--no-stream", "--system-prompt-append", "more.txt", home=home,
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    (request,) = server.requests
    body = request.body
    assert [body[name] for name in ("temperature", "max_tokens", "stop", "top_k")] == [0.2, 50, ["END"], 20]
    assert (request.headers["x-team"], request.stream) == ("memory", False)
    shown = await trioagent("prompt", "show", "--system-prompt-append", "more.txt", home=home)
    assert shown.out == request.messages[0]["content"]
    assert "\n\nAnswer in Dutch.\n\nToday is " in shown.out
    undated = await trioagent("prompt", "show", "--system-prompt-append", "more.txt", "--date", "none", home=home)
    assert undated.out.endswith("\n\nAnswer in Dutch.\n") and shown.out.startswith(undated.out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "temperature"), "'temperature' is not KEY=VALUE"),
        (("-o", "temperature=hot"), "temperature: must be a number, 0 or more, not 'hot'"),
        (("-o", "messages=[]"), "extra_body: 'messages' is set by the conversation"),
        (("--header", "secret"), "must be NAME:VALUE"),
        (("--header", "Host: secret"), "'Host' is set by the connection itself"),
        (("--profile", "fast"), "there is no such file"),
        (("--config", "missing.toml"), "missing.toml: there is no such file"),
        (("--memory", "~nobody-of-that-name/notes"), "'~nobody-of-that-name/notes'"),
    ],
)
def test_what_cannot_be_used(run: Run, arguments: tuple[str, ...], words: str) -> None:
    done = run(*RUN, "--model", "m", "--base-url", "http://127.0.0.1:1/v1", *arguments)
    assert done.code == 2
    assert words in done.err and "secret" not in done.err


def test_the_embedded_model_takes_no_options(run: Run) -> None:
    done = run(*RUN, "--model", "offline-rules", "-o", "temperature=0")
    assert (done.code, done.err) == (
        2,
        "error: temperature: offline-rules is not a language model and takes no options\n",
    )


PROFILES = """
[profiles.default]
model = "local"
base_url = "{url}"
api_key_env = "MY_KEY"
temperature = 0.5
headers_env = {{ X-Second = "MY_KEY" }}

[profiles.fast]
model = "small"
base_url = "{url}"
temperature = 0
stop = "END"
system_prompt_append = "Be brief."
headers = {{ X-Team = "memory" }}
[profiles.fast.options]
top_k = 5
"""


async def test_profiles(home: Path, serve: Serve) -> None:
    server = await serve(REPLY, REPLY, REPLY)
    write_config(home, PROFILES.format(url=server.base_url))
    for arguments in ((), ("--profile", "fast"), ("--profile", "fast", "-o", "temperature=1", "--model", "other")):
        done = await trioagent(*RUN, *arguments, home=home, env=KEY)
        assert (done.code, done.err) == (0, "")
    default, fast, changed = server.requests
    assert [request.body["model"] for request in server.requests] == ["local", "small", "other"]
    assert [request.body["temperature"] for request in server.requests] == [0.5, 0, 1]
    assert (default.headers["authorization"], default.headers["x-second"]) == ("Bearer sk-of-mine", "sk-of-mine")
    assert "authorization" not in fast.headers and fast.headers["x-team"] == "memory"
    assert (fast.body["stop"], fast.body["top_k"]) == (["END"], 5)
    assert "\n\nBe brief.\n\nToday is " in fast.messages[0]["content"]
    assert changed.body["top_k"] == 5


async def test_a_profiles_key_goes_to_its_own_server_only(home: Path, serve: Serve) -> None:
    own, other = await serve(REPLY), await serve(REPLY)
    write_config(home, PROFILES.format(url=own.base_url))
    done = await trioagent(*RUN, "--base-url", other.base_url, home=home, env=KEY)
    assert done.err == f"note: the profile's key belongs to another server; it is not sent to {other.base_url}\n"
    assert b"sk-of-mine" not in other.requests[0].head
    assert own.requests == []


async def test_a_key_by_the_name_of_its_variable(home: Path, serve: Serve) -> None:
    server = await serve(REPLY, REPLY)
    done = await trioagent(*RUN, *at(server), "--api-key-env", "MY_KEY", home=home, env=KEY)
    assert (done.code, done.err) == (0, "")
    assert server.requests[0].headers["authorization"] == "Bearer sk-of-mine"
    done = await trioagent(*RUN, *at(server), "--api-key-env", "MY_KEY", home=home)
    assert done.code == 2 and "MY_KEY: this environment variable should hold a key" in done.err


async def test_a_file_in_the_current_folder_is_not_read(home: Path, serve: Serve) -> None:
    """A cloned repository could hold one, and send keys elsewhere."""
    trap = await serve(REPLY)
    write_config(home, PROFILES.format(url=trap.base_url), "vault")
    done = await trioagent(*RUN, home=home, cwd=home / "vault", env=KEY)
    assert "no model is configured" in done.err
    done = await trioagent(*RUN, "--config", "trioagent.toml", home=home, cwd=home / "vault", env=KEY)
    assert (done.code, len(trap.requests)) == (0, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("profiles = 3", ".profiles: must be an object, not 3"),
        ("[profiles.x]\nmodell = 'a'", "has the unknown field 'modell'; did you mean 'model'?"),
        ("[profiles.x]\ntemperature = 'hot'", ".temperature: must be a number, not 'hot'"),
        ("[profiles.x]\napi_key = 'sk'", "has the unknown field 'api_key'; did you mean 'api_key_env'?"),
        ("[profiles.x]\napi_key_env = 'MY_KEY'", "has a key, but neither a base_url nor a model with a provider's"),
        ("[profiles.y]", "--profile: 'x' is not in"),
        ("[profiles", "is not TOML"),
        ("\ufeff[profiles.x]\r\nmodell = 'a'\r\n", "has the unknown field 'modell'; did you mean 'model'?"),
    ],
)
def test_configuration_that_cannot_be_used(home: Path, run: Run, text: str, words: str) -> None:
    write_config(home, text)
    done = run(*RUN, "--profile", "x")
    assert done.code == 2
    assert words in done.err


def test_a_key_that_is_named_and_not_set(home: Path, run: Run) -> None:
    write_config(home, PROFILES.format(url="http://127.0.0.1:1/v1"))
    done = run(*RUN)
    assert (done.code, done.err) == (
        2,
        "error: MY_KEY: this environment variable should hold a key, and is not set\n",
    )


async def test_the_environments_proxy(home: Path, serve: Serve) -> None:
    server = await serve(REPLY, REPLY)
    async with proxy() as there:
        env = {"HTTP_PROXY": there.url}
        assert (await trioagent(*RUN, *at(server), home=home, env=env)).code == 0
        assert there.asked == [f"POST {server.base_url}/chat/completions".encode()]
        assert (await trioagent(*RUN, *at(server), home=home, env={**env, "NO_PROXY": "127.0.0.1"})).code == 0
        assert len(there.asked) == 1
    done = await trioagent(*RUN, *at(server), home=home, env={"ALL_PROXY": "socks5://ada:secret@localhost:1080"})
    assert done.code == 2
    assert "socks5://localhost:1080 is a SOCKS proxy, which is not supported" in done.err and "secret" not in done.err


async def test_that_no_key_was_sent_is_said(home: Path, serve: Serve) -> None:
    refusal = Fault.status(401, "who are you?")
    server = await serve(refusal, refusal)
    done = await trioagent(*RUN, *at(server), home=home)
    assert (done.code, "no key was sent: who are you?" in done.err) == (1, True)
    done = await trioagent(*RUN, *at(server), home=home, env={"TRIOAGENT_API_KEY": "sk-x"})
    assert (done.code, "no key was sent" in done.err) == (1, False)


async def test_a_tilde_is_the_home_folder(home: Path, serve: Serve) -> None:
    server = await serve("<think>t</think><python>create_file('a.md', 'x')</python>", REPLY)
    done = await trioagent("run", "hi", "--memory=~/notes", *at(server), home=home)
    assert done.code == 0
    assert (home / "notes" / "a.md").read_text() == "x" and not (home / "~").exists()


async def test_ping(home: Path, serve: Serve) -> None:
    server: ModelServer = await serve(Say("pong", usage=(7, 2)), Fault.status(401, "no"))
    done = await trioagent("doctor", "--ping", *at(server), "-o", "max_tokens=5", home=home)
    assert done.code == 0
    assert "  ok   answer: 'pong' after " in done.out
    assert "7 tokens read and 2 written; the server names no cost" in done.out
    assert server.requests[0].body["max_tokens"] == 5
    failed = await trioagent("doctor", "--ping", "--json", *at(server), home=home)
    assert failed.code == 1
    (answer,) = [check for check in json.loads(failed.out)["model"] if check["name"] == "answer"]
    assert not answer["ok"] and "no key was sent" in answer["detail"]
    assert len(server.requests) == 2


async def test_jobs_may_have_options_and_a_prompt_of_their_own(home: Path, serve: Serve) -> None:
    server = await serve(REPLY, REPLY)
    rows = [
        {"id": "a", "memory": "a", "messages": ["hi"], "options": {"temperature": 0, "top_k": 3}},
        {"id": "b", "memory": "b", "messages": ["hi"], "system_prompt_append": "Be kind."},
    ]
    (home / "jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("batch", "jobs.jsonl", "--run-dir", "out", "--max-concurrent", "1", *at(server), "-o", "temperature=1")
    done = await trioagent(*arguments, home=home)
    assert done.code == 0
    first, second = server.requests
    assert [(request.body["temperature"], request.body.get("top_k")) for request in (first, second)] == [
        (0, 3),
        (1, None),
    ]
    assert ["\n\nBe kind.\n\nToday is " in request.messages[0]["content"] for request in (first, second)] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1}, "options.temperature: must be a number, 0 or more, not -1"),
        ({"model": "x"}, "options.extra_body: 'model' is set by ModelConfig.model"),
        ([], "options"),
    ],
)
def test_a_jobs_bad_options_are_found_before_anything_is_spent(
    home: Path, run: Run, options: object, words: str
) -> None:
    (home / "jobs.jsonl").write_text(json.dumps({"id": "a", "memory": "a", "messages": ["hi"], "options": options}))
    done = run("batch", "jobs.jsonl", "--run-dir", "out", "--model", "offline-rules")
    assert done.code == 2
    assert words in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("batch", "jobs.jsonl", "--run-dir", "out"),
        ("sft", "generate", "--personas", "people.jsonl", "--flow", "introduce", "--out", "out"),
    ],
)
def test_a_run_has_no_default_model(home: Path, run: Run, arguments: tuple[str, ...]) -> None:
    (home / "jobs.jsonl").write_text('{"id": "a", "memory": "a", "messages": ["hi"]}\n')
    (home / "people.jsonl").write_text(json.dumps(PERSONA) + "\n")
    done = run(*arguments)
    assert done.code == 2
    assert "--model: no model is chosen, and a run has no default" in done.err
    assert not (home / "out").exists()
