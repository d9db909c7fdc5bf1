"""Inside other people's programs: interruptions, context variables, streams, configuration, warm-up and health."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import ctypes
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import anyio.to_thread
import pytest

from trioagent import InvalidInputError, ModelConfig, SandboxLimits
from trioagent._events import CodeResult, Replied
from trioagent.compat import (
    Agent,
    AgentResponse,
    AsyncAgent,
    WrongContextError,
    aclose,
    configure,
    health,
    shutdown,
    start,
)
from trioagent.compat._configuration import CompatConfig, set_current
from trioagent.compat._patched import check_not_patched
from trioagent.models import AnswerPart
from trioagent.testing import ScriptedModel

from .support import HELLO, NOTED, alive, descendants, environment, until

pytestmark = pytest.mark.real

CALLS = "<think>x</think>\n<python>\nsaid = {name}(3)\n</python>"
request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="none")


@pytest.fixture(autouse=True)
def _as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    set_current(**{name: getattr(CompatConfig(), name) for name in ("memory_root", "env_file", "host_tools")})


class Noticing:
    """A model that notices the caller's context, and logs."""

    name = "noticing"

    def __init__(self, *answers: str) -> None:
        self._script, self.seen = ScriptedModel(answers), list[str]()

    @asynccontextmanager
    async def answer(self, messages: Sequence[Any]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        self.seen.append(request_id.get())
        logging.getLogger("theirs").warning("asked")
        async with self._script.answer(messages) as parts:
            yield parts


class Slow:
    """An agent whose answer does not come."""

    def __init__(self) -> None:
        self.model = ScriptedModel([HELLO], delay=3600)
        self.agent = Agent(memory_path="slow", model=self.model)

    def chat(self) -> None:
        self.agent.chat("Hi")

    def asked(self) -> bool:
        return bool(self.model.calls)


def test_an_exception_injected_into_a_thread_ends_its_chat() -> None:
    slow, ended = Slow(), list[BaseException]()

    def work() -> None:
        try:
            slow.chat()
        except TimeoutError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until(slow.asked)
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(TimeoutError))
    until(lambda: not thread.is_alive(), "the chat's end")
    assert [type(error) for error in ended] == [TimeoutError]
    assert health().calls == 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_worker_thread_of_anyio_ends_its_chat(backend: str) -> None:
    slow = Slow()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, slow.chat)
            while not slow.asked():
                await anyio.sleep(0.005)
            group.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    assert health().calls == 0


def test_context_variables_reach_the_model_and_log_records(caplog: pytest.LogCaptureFixture) -> None:
    model, records = Noticing(*[HELLO] * 4), list[str]()

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(request_id.get())

    async def one(number: int) -> None:
        request_id.set(str(number))
        await AsyncAgent(memory_path="m", model=model).chat("Hi")

    async def main() -> None:
        await asyncio.gather(*map(one, range(3)))

    keep = Keep()
    logging.getLogger("theirs").addHandler(keep)
    try:
        asyncio.run(main())
        contextvars.copy_context().run(lambda: (request_id.set("sync"), Agent(memory_path="m", model=model).chat("Hi")))
    finally:
        logging.getLogger("theirs").removeHandler(keep)
    assert sorted(model.seen) == sorted(records) == ["0", "1", "2", "sync"]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_host_tools_see_the_caller(kind: str) -> None:
    seen = list[tuple[str, object]]()

    def plain(number: int) -> int:
        seen.append((request_id.get(), None))
        return 2 * number

    async def coroutine(number: int) -> int:
        await asyncio.sleep(0)
        seen.append((request_id.get(), asyncio.get_running_loop()))
        return 2 * number

    configure(host_tools={"plain": plain, "coroutine": coroutine})
    answers = [CALLS.format(name=kind), HELLO]

    async def main() -> tuple[AsyncAgent, object]:
        request_id.set("asked")
        agent = AsyncAgent(memory_path="m", model=ScriptedModel(answers))
        await agent.chat("Hi")
        return agent, asyncio.get_running_loop()

    agent, loop = asyncio.run(main())
    assert "({'said': 6}, '')" in agent.messages[3].content
    assert f"{kind}(…)" in agent.system_prompt
    assert seen == [("asked", loop if kind == "coroutine" else None)]
    sync = Agent(memory_path="m", model=ScriptedModel(answers))
    sync.chat("Hi")
    assert "({'said': 6}, '')" in sync.messages[3].content


def test_agents_pickle_and_copy_after_a_chat() -> None:
    agent = Agent(memory_path="m", model=ScriptedModel(lambda messages: HELLO))
    agent.chat("Hi")
    for other in (copy.copy(agent), copy.deepcopy(Agent(memory_path="m", model="offline-rules"))):
        before = len(agent.messages)
        assert other.chat("Hello").reply
        assert len(agent.messages) == before
    there = Agent(memory_path="m", model="offline-rules")
    there.chat("I live in Rome.")
    again = pickle.loads(pickle.dumps(there))
    assert again.messages == there.messages
    assert "Rome" in again.chat("Where do I live?").reply


def test_messages_grow_while_a_chat_goes_on(tmp_path: Path) -> None:
    lengths = list[int]()

    def answer(messages: Sequence[Any]) -> str:
        lengths.append(len(agent.messages))
        return NOTED if len(lengths) == 1 else HELLO

    agent = Agent(memory_path="m", model=ScriptedModel(answer))
    kept = agent.messages
    agent.chat("Hi")
    assert lengths == [2, 4]
    assert agent.messages is kept
    assert [message.role for message in kept] == ["system", "user", "assistant", "user", "assistant"]


def test_a_conversation_that_begins_anew_has_read_nothing(tmp_path: Path) -> None:
    """What a program does to the notes between two conversations is nobody else's change to the second one."""
    note = "<think>x</think>\n<python>\nok = create_file('user.md', '# Ada')\n</python>"
    agent = Agent(
        memory_path=tmp_path, model=ScriptedModel(lambda messages: HELLO if messages[-1].role == "tool" else note)
    )
    agent.chat("Hi")
    (tmp_path / "user.md").write_text("as it was at first")
    agent.messages = agent.messages[:1]
    assert agent.chat("Hi").blocks_saved == 1
    (tmp_path / "user.md").write_text("as it was at first")
    assert agent.chat("Hi").blocks_saved == 0  # it goes on, and was told of other notes


def test_a_chat_is_watched_from_a_thread() -> None:
    agent = Agent(memory_path="m", model=ScriptedModel([NOTED, HELLO, HELLO]))
    with agent.stream_chat("Hi") as events:
        kinds = [type(event) for event in events]
    assert CodeResult in kinds
    assert kinds[-1] is Replied
    with agent.stream_chat("Again") as events:
        last = list(events)[-1]
    assert isinstance(last, Replied)
    assert isinstance(last.response, AgentResponse)
    assert last.response.reply == "Hello."
    assert health().calls == 0


def test_leaving_a_watched_chat_stops_it() -> None:
    agent = Agent(memory_path="m", model=ScriptedModel([NOTED, HELLO]))
    with pytest.raises(ZeroDivisionError), agent.stream_chat("Hi") as events:
        next(events)
        raise ZeroDivisionError
    assert health().calls == 0
    assert not Path("memory/m/user.md").exists()


def test_what_goes_wrong_in_a_watched_chat_comes_out() -> None:
    with pytest.raises(InvalidInputError, match="message"), Agent(memory_path="m").stream_chat(" ") as events:
        next(events)

    async def main() -> None:
        async with AsyncAgent(memory_path="m").stream_chat(" ") as events:
            await anext(events)

    with pytest.raises(InvalidInputError, match="message"):
        asyncio.run(main())


def test_a_chat_is_watched_in_a_loop_and_cancelled() -> None:
    async def main() -> None:
        agent = AsyncAgent(memory_path="m", model=ScriptedModel([NOTED, HELLO]))
        async with agent.stream_chat("Hi") as events:
            kinds = [type(event) async for event in events]
        assert kinds[-1] is Replied
        slow = AsyncAgent(memory_path="m", model=ScriptedModel([HELLO], delay=3600))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), slow.stream_chat("Hi") as events:
                await anext(events)
        assert [message.role for message in slow.messages] == ["system"]
        assert health().calls == 0

    asyncio.run(main())


def test_a_lifespan() -> None:
    async def main() -> None:
        await aclose()
        assert (health().running, health().ready) == (False, False)
        began = await start("offline-rules")
        assert began.ready
        assert began.calls == 0
        assert began.zygotes >= (began.tier != "monty")
        below = descendants()
        await aclose()
        assert not health().running
        assert not alive(below)

    asyncio.run(main())


def test_configuration(tmp_path: Path) -> None:
    configure(memory_root=tmp_path / "all")
    assert Agent(memory_path="mine").memory_path == str(tmp_path / "all" / "mine")
    assert Agent(memory_path="mine", predetermined_memory_path=True).memory_path == str(tmp_path / "memory" / "mine")
    assert Agent(memory_path="/some/where").memory_path == "/some/where"
    with pytest.raises(InvalidInputError, match="give its absolute path"):
        Agent(memory_path="../mine")
    configure(memory_root=".")
    assert Agent(memory_path="../mine").memory_path == str(tmp_path.parent / "mine")
    shutdown()
    limits = SandboxLimits(wall_seconds=3)
    configure(sandbox_limits=limits)
    try:
        Agent(memory_path="m", model=ScriptedModel([NOTED, HELLO])).chat("Hi")
        with pytest.raises(InvalidInputError, match="sandbox_limits: fixed since the first chat"):
            configure(sandbox_limits=SandboxLimits())
        configure(sandbox_limits=limits)
    finally:
        shutdown()
        configure(sandbox_limits=SandboxLimits())


@pytest.mark.parametrize(
    ("setting", "value"), [("memory_root", 3), ("env_file", "missing"), ("host_tools", {"read_file": print})]
)
def test_what_cannot_be_configured(setting: str, value: Any) -> None:
    with pytest.raises(InvalidInputError):
        configure(**{setting: value})


def test_a_deleted_current_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    agent = Agent(memory_path=tmp_path / "m", model=ScriptedModel([HELLO]))
    (tmp_path / "gone").rmdir()
    with pytest.raises(InvalidInputError, match="memory_path: .*current folder has been deleted"):
        Agent(memory_path="m")
    with pytest.raises(InvalidInputError, match="save_folder: .*current folder has been deleted"):
        agent.save_conversation()
    assert agent.chat("Hi").reply == "Hello."


@pytest.mark.parametrize(("name", "asked"), [("gevent", "gevent.monkey"), ("eventlet", "eventlet.patcher")])
def test_patched_processes_are_refused_by_name(name: str, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patcher = ModuleType(asked)
    function = "is_module_patched" if name == "gevent" else "is_monkey_patched"
    setattr(patcher, function, lambda module: False)
    monkeypatch.setitem(sys.modules, asked, patcher)
    check_not_patched()
    for replaced in ("socket", "subprocess"):
        setattr(patcher, function, lambda module, replaced=replaced: module == replaced)
        with pytest.raises(WrongContextError, match=f"{name} has patched"):
            check_not_patched()


def in_a_program(folder: Path, source: str, *, module: str = "", **env: str) -> str:
    """The output of a program in *folder*, beside the ``.env`` in there; of ``-m module`` if there is one."""
    program = folder / f"{(module or 'program').replace('.', '/')}.py"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(source)
    (folder / "elsewhere").mkdir(exist_ok=True)
    roots = os.pathsep.join([str(folder), str(Path(__file__).parent.parent.parent)])
    done = subprocess.run(
        [sys.executable, "-W", "error", *(["-m", module] if module else [str(program)])],
        capture_output=True,
        text=True,
        cwd=folder / "elsewhere",
        env=environment(folder, PYTHONPATH=roots, **env),
        timeout=60,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


MODEL = "from trioagent.compat import Agent\nc = Agent()._choice\nprint(c.base_url, c.model, c.api_key)"


@pytest.mark.parametrize(
    ("said", "env", "model", "expected"),
    [
        ("VLLM_HOST=gpu\nVLLM_API_KEY='k1'", {}, None, "http://gpu:8000/v1 driaforall/mem-agent k1"),
        ("VLLM_HOST=gpu", {"VLLM_API_KEY": "mine"}, None, "http://gpu:8000/v1 driaforall/mem-agent None"),
        ("VLLM_API_KEY=k1", {"VLLM_HOST": "gpu"}, None, "http://gpu:8000/v1 driaforall/mem-agent k1"),
        (
            "VLLM_HOST=evil",
            {"VLLM_HOST": "gpu", "VLLM_API_KEY": "k"},
            None,
            "http://gpu:8000/v1 driaforall/mem-agent k",
        ),
        ("LITELLM_BASE_URL=http://l/v1\nLITELLM_API_KEY=k2", {}, "m", "http://l/v1 m k2"),
        ("OPENROUTER_API_KEY=k3", {}, None, "https://openrouter.ai/api/v1 anthropic/claude-sonnet-4 k3"),
        ("OPENROUTER_BASE_URL=http://o/v1", {"OPENROUTER_API_KEY": "mine"}, "m", "http://o/v1 m None"),
        ("TRIOAGENT_BASE_URL=http://t/v1", {"TRIOAGENT_API_KEY": "mine"}, "m", "http://t/v1 m None"),
    ],
)
def test_what_an_env_file_says(
    said: str, env: dict[str, str], model: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"# ours\nexport {said}\n")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    configure(env_file=tmp_path / ".env")
    choice = Agent(model=model)._choice
    assert isinstance(choice, ModelConfig)
    assert f"{choice.base_url} {choice.model} {choice.api_key}" == expected


@pytest.mark.parametrize("said", ["OPENROUTER_STRONG_MODEL=some/model", "VLLM_API_KEY=k", "MODEL_NAME=mine"])
def test_an_env_file_that_names_a_model_never_means_rules(said: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"{said}\n")
    configure(env_file=tmp_path / ".env")
    with pytest.raises(InvalidInputError, match=r"OPENROUTER_API_KEY|selects none"):
        Agent()


@pytest.mark.parametrize("module", ["program", "a.program", "a.b.c.program"])
def test_the_env_file_of_a_package_is_read_by_each_of_its_programs(module: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("VLLM_HOST=gpu\n")
    said = in_a_program(tmp_path, MODEL, module=module)
    assert said == "http://gpu:8000/v1 driaforall/mem-agent None"


def test_an_env_file_in_a_memory_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("VLLM_HOST=evil\n")
    source = "from trioagent.compat import Agent\nprint(Agent(memory_path={!r}).model)"
    assert in_a_program(tmp_path, source.format("m")) == "driaforall/mem-agent"
    assert in_a_program(tmp_path, source.format(str(tmp_path))) == "offline-rules"
    (tmp_path / ".trioagent").mkdir()
    assert in_a_program(tmp_path, source.format("m")) == "offline-rules"


def test_settings_that_a_program_assigns_count(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Be brief.")
    source = """
import trioagent.compat.settings as settings
from trioagent.compat import Agent
settings.VLLM_PORT, settings.MAX_TOOL_TURNS, settings.SYSTEM_PROMPT_PATH = 9, 20, "{}"
settings.OPENROUTER_BASE_URL = "http://o/v1"
agent = Agent(use_vllm=True, model="m")
print(agent._choice.base_url, agent.max_tool_turns, agent.system_prompt, Agent(4, model="m")._choice.base_url)
"""
    out = in_a_program(tmp_path, source.format(tmp_path / "prompt.txt"), OPENROUTER_API_KEY="k")
    assert out == "http://localhost:9/v1 20 Be brief. http://o/v1"


def test_an_unreadable_prompt_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM_PROMPT_PATH", "missing.txt")
    with pytest.raises(InvalidInputError, match=r"SYSTEM_PROMPT_PATH: .*missing\.txt"):
        Agent(memory_path="m")


def test_an_empty_message_is_said_as_it_is() -> None:
    model = ScriptedModel([HELLO])
    assert Agent(memory_path="m", model=model).chat("").reply == "Hello."
    assert model.calls[0][-1].content == ""
