"""Every public error: its name, its words, and its way through a pickle."""

from __future__ import annotations

import inspect
import pickle
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trioagent
import trioagent.batch
import trioagent.compat
import trioagent.sft
from trioagent._outcomes import AgentFailure, AgentsFailedError
from trioagent.agent import Agent
from trioagent.batch import BadRow
from trioagent.runtime import open_runtime
from trioagent.testing import ScriptedModel

VALUES: dict[Any, Any] = {
    str: "it's é",
    int: 7,
    float: 1.5,
    bool: True,
    tuple[str, ...]: ("a", "b"),
    tuple[tuple[str, str], ...]: (("kernel", "no Landlock"),),
    tuple[tuple[str, str, str], ...]: (("model", "'m'", "'n'"),),
    tuple[tuple[str, str, str, str, str], ...]: (("model", "runs/a", "'m'", "runs/b", "'n'"),),
    tuple[BadRow, ...]: (BadRow(3, "no id"),),
    trioagent.Usage: trioagent.Usage(prompt_tokens=3),
}


def public_errors() -> Iterator[type[Exception]]:
    seen = set()
    for module in (trioagent, trioagent.batch, trioagent.sft, trioagent.compat):
        for name in dir(module):
            thing = getattr(module, name)
            if isinstance(thing, type) and issubclass(thing, BaseException) and thing not in seen:
                seen.add(thing)
                assert issubclass(thing, Exception)
                yield thing


def sample(kind: type[Exception]) -> Exception:
    """One with a value for every argument of its constructor, optional ones too."""
    if "__init__" not in {name for base in kind.__mro__[:-3] for name in vars(base)}:
        return kind()
    parameters = list(inspect.signature(kind.__init__).parameters)[1:]
    hints = typing.get_type_hints(kind.__init__)
    arguments = []
    for name in parameters:
        hint = hints[name]
        if isinstance(hint, types.UnionType):
            hint = typing.get_args(hint)[0]
        arguments.append(VALUES[hint])
    return kind(*arguments)


ERRORS = [error for error in public_errors() if error is not AgentsFailedError]


def test_all_of_them_are_looked_at() -> None:
    assert len(ERRORS) >= 25
    assert [error.__name__ for error in ERRORS if not error.__name__.endswith("Error")] == []


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling(kind: type[Exception]) -> None:
    error = sample(kind)
    error.add_note("in job 7")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.args, str(again), vars(again)) == (error.args, str(error), vars(error))
    assert again.__notes__ == ["in job 7"]


async def test_a_group_of_agents_failures_survives_pickling(tmp_path: Path) -> None:
    error = trioagent.ModelStatusError(500, "boom")
    async with open_runtime(ScriptedModel([error])) as runtime:
        agent = Agent(runtime, memory_path=tmp_path)
        with pytest.raises(AgentsFailedError) as caught:
            await trioagent.run_agents([agent], ["hello"])
    caught.value.add_note("tonight")
    assert caught.value.failures[0].agent is agent
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is AgentsFailedError
    assert (again.message, str(again), again.__notes__) == (caught.value.message, str(caught.value), ["tonight"])
    (failure,) = again.failures
    assert again.exceptions == (failure.error,)
    assert failure == AgentFailure(0, None, "hello", failure.error, str(tmp_path))
    assert (failure.error.args, failure.error.__notes__) == (error.args, error.__notes__)
