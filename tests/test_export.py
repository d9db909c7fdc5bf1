"""Data sets: each format is read by its own library, or checked against what its readers publish."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from trioagent import InvalidInputError
from trioagent.export import FORMATS, ExportReport, Format, export_conversations

ROLE = {"enum": ["system", "user", "assistant"]}
MESSAGE = {
    "type": "object",
    "properties": {"role": ROLE, "content": {"type": "string"}},
    "required": ["role", "content"],
    "additionalProperties": False,
}


def schema(**more: Any) -> dict[str, Any]:
    message = {**MESSAGE, "properties": {**MESSAGE["properties"], **more}}  # type: ignore[dict-item]
    return {
        "type": "object",
        "properties": {"id": {"type": "string"}, "messages": {"type": "array", "minItems": 2, "items": message}},
        "required": ["messages"],
        "additionalProperties": False,
    }


# TRL: "conversational" rows of "language modeling". axolotl: `chat_template` with `message_field_training`. OpenAI: the
# fine-tuning guide; a row has no other field, and weights are 0 or 1 and of assistants only.
SCHEMAS = {
    "trl": schema(),
    "axolotl": schema(train={"type": "boolean"}),
    "openai": schema(weight={"enum": [0, 1]}),
}


def conversation(number: int, **more: Any) -> dict[str, Any]:
    messages = [
        {"role": "system", "content": "Keep notes."},
        {"role": "user", "content": f"Fact {number} \ud83d"},
        {"role": "assistant", "content": "<python>x</python>"},
        {"role": "tool", "content": "<result></result>"},
        {"role": "assistant", "content": "<reply>Noted.</reply>"},
    ]
    row = {"id": f"job-{number}", "messages": messages, "stop_reasons": ["reply"], "finish_reasons": ["", "stop"]}
    return {**row, "metadata": {"persona": number // 10}, "model": "m", "prompt": "abc", **more}


def written(run: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    run.mkdir(exist_ok=True)
    with (run / name).open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return written(tmp_path / "run", "conversations.jsonl", [conversation(number) for number in range(200)])


def exported(run: Path, out: Path, **arguments: Any) -> tuple[ExportReport, dict[str, list[dict[str, Any]]]]:
    report = export_conversations([run], out, **arguments)
    return report, {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in out.glob("*.jsonl")
    }


@pytest.mark.parametrize("format_", ["trl", "axolotl", "openai"])
def test_json_lines(tmp_path: Path, run: Path, format_: Format) -> None:
    report, found = exported(run, tmp_path / "out", format=format_)
    assert report.rows == {"train": 200}
    for row in found["train"]:
        jsonschema.validate(row, SCHEMAS[format_])
        assert row["messages"][-1]["role"] == "assistant"
    roles = [message["role"] for message in found["train"][0]["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant"]  # a result is the user's
    assert found["train"][0]["messages"][1]["content"] == "Fact 0 ?"
    if format_ == "axolotl":
        assert [message["train"] for message in found["train"][0]["messages"]] == [False, False, True, False, True]
    if format_ == "openai":
        assert all(
            ("weight" in message) == (message["role"] == "assistant") for message in found["train"][0]["messages"]
        )


def test_parquet(tmp_path: Path, run: Path) -> None:
    import pyarrow.parquet as pq

    export_conversations([run], tmp_path / "out", format="parquet", test_fraction=0.3)
    tables = {path.stem: pq.read_table(path).to_pylist() for path in (tmp_path / "out").glob("*.parquet")}
    assert sorted(tables) == ["test", "train"]
    assert sum(map(len, tables.values())) == 200
    assert tables["train"][0]["messages"][3] == {"role": "user", "content": "<result></result>"}


def test_no_persona_is_on_both_sides(tmp_path: Path, run: Path) -> None:
    report, found = exported(run, tmp_path / "out", test_fraction=0.3)
    personas: dict[str, set[str]] = {}
    for line in found["provenance"]:
        personas.setdefault(line["split"], set()).add(line["persona"])
        assert found[line["split"]][line["row"]]["id"] == line["id"]
    assert not personas["train"] & personas["test"]
    assert len(personas["train"] | personas["test"]) == 20
    assert report.rows["test"] == pytest.approx(60, abs=40)
    exported(run, tmp_path / "again", test_fraction=0.3)
    exported(run, tmp_path / "other", test_fraction=0.3, seed=1)
    assert (tmp_path / "again" / "test.jsonl").read_bytes() == (tmp_path / "out" / "test.jsonl").read_bytes()
    assert (tmp_path / "other" / "test.jsonl").read_bytes() != (tmp_path / "out" / "test.jsonl").read_bytes()


def test_what_is_left_out(tmp_path: Path) -> None:
    run = tmp_path / "run"
    rows = [
        conversation(0),
        conversation(0, id="twin"),
        conversation(1, stop_reasons=["reply", "max_tool_turns"]),
        conversation(2, finish_reasons=["length", "stop"]),
        conversation(3, messages=conversation(3)["messages"][:2]),
        conversation(7, left_out={"results": 2, "messages": 0, "turns": 0}),
    ]
    written(run, "conversations.jsonl", rows)
    written(run, "rejected.jsonl", [conversation(4, metadata={})])
    written(
        run, "samples.jsonl", [conversation(number, score=number / 10, suite="s", set_up="u") for number in (5, 10)]
    )
    written(run, "samples.jsonl", [conversation(6, kind="set-up")])
    report, found = exported(run, tmp_path / "out")
    assert report.rows == {"train": 2}
    assert report.left_out == {"duplicate": 1, "cut": 2, "trimmed": 1, "unfinished": 1, "failed": 1, "wrong": 1}
    assert [row["id"] for row in found["train"]] == ["job-0", "job-10"]
    report, _ = exported(run, tmp_path / "all", include_cut=True, include_failed=True, min_score=0)
    assert report.rows == {"train": 7}
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\n")
    assert "| train | 2 |" in card
    assert "- cut: 2" in card


def test_conversations_of_training_have_their_persona(tmp_path: Path) -> None:
    rows = [conversation(number, hashes={"persona": "p"}, models={"agent": "a"}, model="") for number in range(30)]
    written(tmp_path / "run", "conversations.jsonl", rows)
    report, found = exported(tmp_path / "run", tmp_path / "out", test_fraction=0.5)
    assert len(report.rows) == 1
    assert Counter(line["model"] for line in found["provenance"]) == {"a": 30}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"format": "csv"}, "format: must be one of trl, axolotl, openai, parquet, not 'csv'"),
        ({"test_fraction": 1.0}, "must be at least 0 and below 1, not 1.0"),
        ({"run_dirs": ["."]}, "is not a run: it has neither conversations.jsonl nor samples.jsonl"),
        ({"out": "run"}, "is not empty; choose a new folder"),
    ],
)
def test_bad_arguments(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match=problem):
        export_conversations(**{"run_dirs": [run], "out": "out", **arguments})


def test_nothing_to_export_leaves_an_empty_folder(tmp_path: Path) -> None:
    run = written(tmp_path / "run", "conversations.jsonl", [conversation(1, stop_reasons=["cut"])])
    with pytest.raises(InvalidInputError, match=r"no conversation that could be exported \(1 cut\)"):
        export_conversations([run], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_every_format_has_a_test() -> None:
    assert set(FORMATS) == {*SCHEMAS, "parquet"}
