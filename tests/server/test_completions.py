"""A chat behind a request that is broken off at any instant, and sent again: every block counts once."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing

from trioagent.agent import Agent
from trioagent.runtime import open_runtime
from trioagent.server import RequestError, ServerConfig
from trioagent.server._completions import CompletionRun, Completions
from trioagent.server._sessions import Sessions
from trioagent.testing import ScriptedModel

from .serving import code, reply
from .test_openai import APPEND

MANY = APPEND.replace("\n</python>", "\nfor n in range(60):\n    create_file(f'many/{n}.md', 'y')\n</python>")

pytestmark = pytest.mark.real


async def all_parts(run: CompletionRun) -> str:
    found: list[tuple[str, str]] = []
    while parts := await run.parts(len(found)):
        found += parts
    return "".join(text for kind, text in found if kind == "reply")


@pytest.mark.parametrize("steps", [0, 1, 3])
async def test_a_client_that_leaves_during_a_commit_comes_back_to_its_result(tmp_path: Path, steps: int) -> None:
    """It leaves some steps of the scheduler after one note is there, while a thread commits the many others."""
    memory = tmp_path / "ada"
    async with open_runtime(model=ScriptedModel(lambda messages: answer(messages[-1].role))) as runtime:
        async with trio.open_nursery() as nursery:
            run = Completions(Sessions(ServerConfig(), nursery)).run_for(b"key")
            with run.followed():
                await run.begin(lambda: Agent(runtime, memory_path=memory), "go")
                with trio.fail_after(20):
                    while not (memory / "log.md").exists():
                        await trio.lowlevel.checkpoint()
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
            with run.followed():
                await run.begin(lambda: Agent(runtime, memory_path=memory), "go")
                assert await all_parts(run) == "Written."
            nursery.cancel_scope.cancel()
    assert (memory / "log.md").read_text() == "x"
    assert len(list((memory / "many").iterdir())) == 60


def answer(last: str) -> str:
    return reply("Written.") if last == "tool" else MANY


async def test_a_chat_that_failed_is_begun_again_and_a_refused_one_is_forgotten(tmp_path: Path) -> None:
    model = ScriptedModel([RuntimeError("broken"), code("x = 1"), reply("Fine.")])
    async with open_runtime(model=model) as runtime, trio.open_nursery() as nursery:
        completions = Completions(Sessions(ServerConfig(), nursery))
        run = completions.run_for(b"key")
        assert completions.run_for(b"key") is run
        with run.followed():
            await run.begin(lambda: Agent(runtime, memory_path=tmp_path / "a"), "go")
            assert await all_parts(run) == ""
        failed = run.error
        assert failed is not None
        assert (failed.status, failed.type) == (500, "internal")
        with run.followed():
            await run.begin(lambda: Agent(runtime, memory_path=tmp_path / "a"), "go")
            assert await all_parts(run) == "Fine."
        assert run.error is None
        completions.sessions.stopping = True
        refused = completions.run_for(b"other")
        with pytest.raises(RequestError, match="is stopping"):
            with refused.followed():
                await refused.begin(lambda: Agent(runtime, memory_path=tmp_path / "a"), "go")
        assert completions.run_for(b"other") is not refused
        nursery.cancel_scope.cancel()


async def test_a_chat_that_ended_well_keeps_its_answer_and_not_the_conversation(tmp_path: Path) -> None:
    """A thousand of them are kept for a minute, and a client's conversation may have four megabytes."""
    made: list[weakref.ref[Agent]] = []
    async with open_runtime(model=ScriptedModel([code("x = 1"), reply("Fine.")])) as runtime:
        async with trio.open_nursery() as nursery:
            run = Completions(Sessions(ServerConfig(), nursery)).run_for(b"key")

            def make() -> Agent:
                agent = Agent(runtime, memory_path=tmp_path / "a")
                made.append(weakref.ref(agent))
                return agent

            for _ in range(2):
                with run.followed():
                    await run.begin(make, "go")
                    assert await all_parts(run) == "Fine."
                await trio.testing.wait_all_tasks_blocked()
            gc.collect()
            assert [agent() for agent in made] == [None]
            nursery.cancel_scope.cancel()
