"""`AgentStage` as Ray Data uses it: made in an actor, called with batches, ended with the actor. Without Ray here."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio

from trioagent._config import BatchConfig, ModelConfig, SftConfig, Shard
from trioagent._errors import InvalidInputError, ModelStatusError
from trioagent._messages import ChatMessage
from trioagent.cluster import AgentStage, StageClosedError, StageStoppedError
from trioagent.models import AnswerPart
from trioagent.testing import ScriptedModel

from ..sft.people import persona_body

pytestmark = pytest.mark.real

REPLY = "<think>t</think><python></python><reply>Yes.</reply>"
NOTE = "<think>t</think><python>\ncreate_file('entities/new.md', 'Said: hi')\n</python>"
PERSONA = persona_body()


class Hanging(ScriptedModel):
    """Never answers."""

    def __init__(self) -> None:
        super().__init__([])
        self.asked = threading.Event()

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        self.asked.set()
        while not self.calls:  # for ever
            await trio.sleep(1)
        async with super().answer(messages) as parts:
            yield parts


class Array:
    """As `numpy.ndarray` in what matters here."""

    def __init__(self, *values: Any) -> None:
        self._values = values

    def tolist(self) -> list[Any]:
        return list(self._values)


def answer(messages: Sequence[ChatMessage]) -> str:
    last = messages[-1]
    if last.role == "tool":
        return REPLY
    match last.content:
        case "note":
            return NOTE
        case "fail":
            raise ModelStatusError(400, "no such thing")
    return REPLY


@pytest.fixture(autouse=True)
def folder_is_left_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No temporary folder, and no thread, outlives a stage."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    threads = {thread.name for thread in threading.enumerate()}
    yield
    assert [path for path in os.listdir(tmp_path) if path.startswith("trioagent-stage-")] == []
    assert "trioagent stage" not in {thread.name for thread in threading.enumerate()} - threads


@pytest.fixture(scope="module")
def stage() -> Iterator[AgentStage]:
    with AgentStage(ScriptedModel(answer)) as stage:
        yield stage


@pytest.mark.parametrize("column", [Array, lambda *values: list(values)])
def test_conversations_keep_the_order_of_their_rows(stage: AgentStage, column: Callable[..., Any]) -> None:
    batch = {
        "messages": column(Array("hi"), ["note", "hi"], "hi"),
        "notes": column(None, {"user.md": "Ada"}, Array({"path": "a/b.md", "text": "x", "other": None})),
        "number": column(7, 8, 9),
    }
    found = stage(batch)
    assert found["number"] is batch["number"]
    assert found["error"] == ["", "", ""]
    assert found["replies"] == [["Yes."], ["Yes.", "Yes."], ["Yes."]]
    assert found["stop_reasons"] == [["reply"], ["reply", "reply"], ["reply"]]
    assert found["turns"] == [1, 3, 1]
    assert [[said["role"] for said in row] for row in found["conversation"]] == [
        ["system", "user", "assistant"],
        ["system", "user", "assistant", "tool", "assistant", "user", "assistant"],
        ["system", "user", "assistant"],
    ]
    assert found["notes_after"] == [
        [],
        [{"path": "entities/new.md", "text": "Said: hi"}, {"path": "user.md", "text": "Ada"}],
        [{"path": "a/b.md", "text": "x"}],
    ]
    assert all(tokens > 0 for name in ("prompt_tokens", "completion_tokens") for tokens in found[name])
    assert {len(name) for name in found["prompt_hash"]} == {16}


def test_a_bad_row_and_a_failed_conversation_stop_no_other(stage: AgentStage) -> None:
    found = stage({"messages": [["hi"], [], ["fail"], None, [5]], "notes": [None, None, [], None, None]})
    assert found["replies"] == [["Yes."], [], [], [], []]
    assert [error.partition(":")[0] for error in found["error"]] == [
        "",
        "InvalidInputError",
        "ModelStatusError",
        "InvalidInputError",
        "InvalidInputError",
    ]
    assert found["conversation"][2] == [{"role": "user", "content": "fail"}]


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        ({"../out.md": "x"}, "must lie in the memory"),
        ({"/etc/out.md": "x"}, "must lie in the memory"),
        ([{"path": "a/../../out.md", "text": "x"}], "must lie in the memory"),
        ([{"path": ".trioagent/x", "text": "x"}], "must lie in the memory"),
        ([{"path": "a.md"}], "must be a text, not None"),
        (["a.md"], "must be a text, not None"),
        ({"": "x"}, "must be a text that is not empty"),
        ("user.md", "must be texts by path"),
        ({"a": "x", "a/b.md": "y"}, "cannot be written as files: File exists"),
        ({"a/b.md": "x", "a": "y"}, "cannot be written as files: Is a directory"),
        ({f"{'x' * 300}.md": "y"}, "cannot be written as files: File name too long"),
        ({"a.md": "\ud800"}, "cannot be written as files: 'utf-8' codec"),
    ],
)
def test_notes_stay_in_their_memory(stage: AgentStage, notes: Any, words: str, tmp_path: Path) -> None:
    (error,) = stage({"messages": ["hi"], "notes": [notes]})["error"]
    assert error.startswith("InvalidInputError: notes") and words in error
    assert os.listdir(tmp_path) == []


def test_what_stands_for_a_missing_value_is_none(stage: AgentStage) -> None:
    assert stage({"messages": ["hi"], "notes": [math.nan], "memory": [math.nan]})["error"] == [""]


def test_a_stage_goes_to_no_actor(stage: AgentStage) -> None:
    with pytest.raises(InvalidInputError, match="give map_batches the class"):
        pickle.dumps(stage)


def test_a_memory_of_its_own_is_used_and_stays(stage: AgentStage, tmp_path: Path) -> None:
    found = stage({"messages": ["note"], "memory": [str(tmp_path / "ada")]})
    assert (found["replies"], found["notes_after"]) == ([["Yes."]], [[]])
    assert (tmp_path / "ada" / "entities" / "new.md").read_text() == "Said: hi"
    (error,) = stage({"messages": ["hi"], "memory": [str(tmp_path / "ada")], "notes": [{"a.md": "x"}]})["error"]
    assert "are given beside a memory" in error


def test_what_a_jobs_file_says_of_a_row_counts(stage: AgentStage) -> None:
    found = stage({"messages": ["hi", "hi"], "system_prompt": ["Be brief.", None], "deadline": [None, "soon"]})
    assert found["conversation"][0][0] == {"role": "system", "content": "Be brief."}
    assert found["error"][1].startswith("InvalidInputError: job: deadline: must be") or "deadline" in found["error"][1]


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ([1], "must be columns by name, or a table of pyarrow or pandas"),
        ({"message": ["hi"]}, "has no column 'messages', but message"),
        ({}, "has no column 'messages', but none"),
        ({"messages": ["hi"], "notes": []}, "must have columns of one length"),
        ({"messages": "hi"}, "must have columns of one length"),
    ],
)
def test_no_batch(stage: AgentStage, batch: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        stage(batch)


def test_an_empty_batch_has_the_columns(stage: AgentStage) -> None:
    assert stage({"messages": []})["replies"] == []
    table = stage(pa.table({"messages": pa.array([], pa.string())}))
    assert (table.num_rows, table.schema.field("turns").type) == (0, pa.int64())


def test_arrow_tables_have_the_same_types_whatever_is_in_them(stage: AgentStage, tmp_path: Path) -> None:
    """So that blocks of which all conversations failed can be written beside others."""
    schemas = []
    for number, message in enumerate(["note", "fail", ""]):
        table = pa.table({"messages": [[message]], "error": ["before"], "day": pa.array([1], pa.date32())})
        found = stage(table)
        schemas.append(found.schema)
        pq.write_table(found, tmp_path / f"{number}.parquet")
    assert schemas[0] == schemas[1] == schemas[2]
    assert schemas[0].field("day").type == pa.date32()
    rows = pq.read_table([str(tmp_path / f"{number}.parquet") for number in range(3)]).to_pylist()
    assert [row["replies"] for row in rows] == [["Yes."], [], []]
    assert [bool(row["error"]) for row in rows] == [False, True, True]
    for path in tmp_path.glob("*.parquet"):
        path.unlink()


def test_in_a_process_of_ray_columns_become_typed(stage: AgentStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    found = stage({"messages": Array(["hi"]), "number": Array(1)})
    assert found.schema.field("replies").type == pa.list_(pa.string())
    assert found.to_pylist()[0]["number"] == 1
    with pytest.raises(InvalidInputError, match="without a common type in column 'mixed'"):
        stage({"messages": [["hi"], ["hi"]], "mixed": [1, "a"]})


def test_a_server_that_is_away_stops_the_batch_and_not_the_stage() -> None:
    away = ModelConfig(base_url="http://127.0.0.1:9/v1", model="m")
    with AgentStage(away, config=BatchConfig(outage_patience=0)) as stage:
        for _ in range(2):
            with pytest.raises(StageStoppedError, match="Connection refused") as caught:
                stage({"messages": ["hi", "hi"]})
            assert caught.value.cause == "outage"
            assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_batches_of_several_threads(stage: AgentStage) -> None:
    """Ray Data calls an actor from as many threads as it allows to be concurrent."""
    found: dict[int, Any] = {}

    def call(number: int) -> None:
        found[number] = stage({"messages": ["hi"] * number})["replies"]

    threads = [threading.Thread(target=call, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [["Yes."]] * number for number in (1, 2, 3)}


def test_training_conversations() -> None:
    facts = [{"fact_description": "I live in Porto.", "previous": None}]
    young = {**PERSONA, "age": "young"}
    with AgentStage("offline-rules", rows="sft", config=SftConfig(num_turns=2, max_retries=0)) as stage:
        found = stage({"persona": Array(PERSONA, young, PERSONA), "facts": [Array(*facts), facts, []]})
        assert found["accepted"] == [True, False, False], found
        assert found["error"][0] == ""
        assert "age" in found["error"][1] and "facts: is empty" in found["error"][2]
        assert [said["role"] for said in found["conversation"][0]][:3] == ["system", "user", "assistant"]
        assert found["attempts"] == [1, 0, 0]
        assert found["prompt_tokens"][0] > 0
        table = stage(pa.table({"persona": [PERSONA], "facts": [["I live in Porto."]]}))
        assert table.column("accepted").to_pylist() == [True]


def test_what_is_rejected_says_why() -> None:
    with AgentStage(ScriptedModel(answer), rows="sft", config=SftConfig(num_turns=1, max_retries=1)) as stage:
        found = stage({"persona": [PERSONA], "facts": [["I live in Porto."]]})
    assert (found["accepted"], found["attempts"]) == ([False], [2])
    assert "Porto" in found["reason"][0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rows": "text"}, "rows: must be 'chat' or 'sft'"),
        ({"config": SftConfig()}, "must be of BatchConfig for 'chat' rows"),
        ({"rows": "sft", "config": BatchConfig()}, "must be of SftConfig for 'sft' rows"),
        ({"config": BatchConfig(limit=1)}, "config.limit: is of a whole run"),
        ({"config": BatchConfig(shard=Shard(1, 2))}, "config.shard: is of a whole run"),
        ({"rows": "sft", "config": SftConfig(max_cost=1)}, "config.max_cost: is of a whole run"),
        ({"persona_model": "offline-rules"}, "is for 'sft' rows"),
        ({"tier": "none"}, "none"),
    ],
)
def test_bad_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        AgentStage("offline-rules", **settings)


def test_an_unknown_model() -> None:
    with pytest.raises(InvalidInputError, match="nowhere:x"):
        AgentStage("nowhere:x")


def test_a_closed_stage() -> None:
    stage = AgentStage("offline-rules")
    stage.__ray_shutdown__()
    stage.close()
    with pytest.raises(StageClosedError) as caught:
        stage({"messages": ["hi"]})
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_closing_cancels_what_runs() -> None:
    model = Hanging()
    stage = AgentStage(model)
    errors: list[BaseException] = []

    def call() -> None:
        try:
            stage({"messages": ["hi"]})
        except StageClosedError as error:
            errors.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    assert model.asked.wait(30)
    stage.close()
    caller.join()
    assert len(errors) == 1


IN_A_PROCESS = """
from trioagent.cluster import AgentStage
import sys
assert not any(name.partition(".")[0] in ("ray", "pyarrow", "numpy") for name in sys.modules)
stage = AgentStage("offline-rules")
print(stage({"messages": ["My name is Ada."]})["error"], flush=True)
"""


def test_a_process_that_ends_without_a_word_leaves_nothing(tmp_path: Path) -> None:
    """Actors of Ray do: nobody closes their stages."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "['']\n", "")
    assert os.listdir(tmp_path) == []
