"""The suites that come along, on small data written here in the form of the real one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trioagent import InvalidInputError
from trioagent.evals import Sample, SampleAnswer, SetUp, find_suite, load_samples, suite_names
from trioagent.evals._suite import _spread

DIFF = "==='user.md'===\n--- a\n+++ b\n-- **Age**: 31\n+- **Age**: 32\n"
EXTRA = {"facts": ["Ada sails.", "Bo paints."], "contradicting_fact": '"Ada rows."', "question_type": "negation"}


def written(path: Path, *rows: Any, lines: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) if lines else json.dumps(rows[0]))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    memory = tmp_path / "ana" / "memory_1"
    entity = {"entity_name": "bo", "entity_file_path": "entities/bo.md", "entity_file_content": "# Bo\n"}
    written(memory / "base_memory.json", {"user_md": "# Ana\n- **Age**: 31\n", "entities": [entity]})
    written(
        memory / "retrieval_questions.json",
        {"0_hop": [{"q": "How old am I?", "a": 31}], "1_hop": [{"q": ["Who is Bo?", "Bo?"], "a": "a friend"}]},
    )
    written(memory / "update_queries.json", {"0_hop": [{"query": "I am 32 now.", "diff": DIFF}]})
    row = {"input": "Who sails?", "ground_truth": "Ada", "agent_args": {"extra": EXTRA}}
    for name in ("core_memory_read", "core_memory_update", "filesystem_code"):
        written(tmp_path / f"{name}.jsonl", {**row, "input": "Look in {pwd}: who sails?"}, lines=True)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "people.txt").write_text("1: Ada sails\n")
    said = {"speaker": "Ada", "text": "I went sailing.", "blip_caption": "a boat"}
    talk = {"speaker_a": "Ada", "speaker_b": "Bo", "session_2": [said], "session_2_date_time": "8 May, 2023"}
    talk |= {"session_10": [said], "session_10_date_time": "9 May, 2024", "session_1": []}
    asked = [{"question": f"Q{one}?", "answer": 2022, "category": one} for one in (1, 2, 3, 4)]
    asked.append({"question": "Q5?", "category": 5, "adversarial_answer": "x"})
    written(tmp_path / "locomo_1.json", [{"sample_id": "conv-1", "conversation": talk, "qa": asked}])
    return tmp_path


def loaded(name: str, data: Path | None) -> list[Sample]:
    return load_samples(find_suite(name), data)


def test_mem_agent(data: Path) -> None:
    samples = loaded("mem-agent", data)
    assert Counter(sample.category for sample in samples) == {"0-hop": 1, "1-hop": 2, "update-0-hop": 1}
    assert samples[0].set_up.notes == {"user.md": "# Ana\n- **Age**: 31\n", "entities/bo.md": "# Bo\n"}
    assert len({id(sample.set_up) for sample in samples}) == 1
    assert samples[0].grader(SampleAnswer(replies=("You are 31.",), before={}, after={})).score == 1
    change = samples[-1]
    assert not change.judged
    assert change.grader(SampleAnswer(replies=("",), before={}, after={"user.md": "- **Age**: 32"})).score == 1


def test_letta(data: Path) -> None:
    (read,), (update,), (files,) = (loaded(f"letta-{one}", data) for one in ("core-read", "core-update", "filesystem"))
    assert read.set_up.messages == update.set_up.messages == ("Ada sails.", "Bo paints.")
    assert len(read.messages) == 1
    assert update.messages[0] == "Ada rows."
    assert files.messages == ("Look in your notes: who sails?",)
    assert files.set_up.notes == {"people.txt": "1: Ada sails\n"}
    assert files.category == "negation"


def test_locomo(data: Path) -> None:
    samples = loaded("locomo", data)
    assert [sample.category for sample in samples] == [
        "multi-hop",
        "temporal",
        "open-domain",
        "single-hop",
        "adversarial",
    ]
    first, second = samples[0].set_up.messages  # the empty session is not told, and 10 comes after 2
    assert "between Ada and Bo on 8 May, 2023" in first
    assert "9 May, 2024" in second
    assert "Ada: I went sailing. (shares a picture: a boat)" in first
    assert [sample.expected for sample in samples] == ["2022"] * 4 + ["not mentioned"]
    assert loaded("locomo", data / "locomo_1.json") == samples


def test_md_memory_brings_its_data() -> None:
    samples = loaded("md-memory", None)
    assert Counter(sample.category for sample in samples) == dict.fromkeys(
        ("retrieval", "update", "clarification", "filter"), 15
    )
    silent = [
        sample.id
        for sample in samples
        if sample.grader(
            SampleAnswer(replies=("I do not know.",), before=sample.set_up.notes, after=sample.set_up.notes)
        ).score
    ]
    assert silent == ["languages/11"]  # where saying nothing breaks no rule: its notes are in another language


@pytest.mark.parametrize("name", ["mem-agent", "letta-core-read", "letta-core-update", "letta-filesystem", "locomo"])
def test_data_that_is_missing_says_where_it_comes_from(name: str, tmp_path: Path) -> None:
    for data in (None, tmp_path / "nowhere", tmp_path):
        with pytest.raises(InvalidInputError, match="its data comes from"):
            loaded(name, data)


@pytest.mark.parametrize(
    ("name", "file", "content", "problem"),
    [
        ("locomo", "locomo_1.json", "{", "locomo_1.json: is not JSON"),
        ("locomo", "locomo_1.json", "[3]", r"locomo_1.json\[0\]: must be an object, not 3"),
        ("locomo", "locomo_1.json", '[{"conversation": {}, "qa": [{"category": 9}]}]', "from 1 to 5, not 9"),
        ("letta-core-read", "core_memory_read.jsonl", "\n[]\n", "line 2: must be an object"),
        (
            "letta-core-read",
            "core_memory_read.jsonl",
            '{"agent_args": {"extra": {"facts": 3}}}',
            "facts: must be a list",
        ),
        ("mem-agent", "a/base_memory.json", "{}", "user_md: must be text, not None"),
        ("md-memory", "", "{}", "vaults: must be an object, not None"),
    ],
)
def test_bad_data_is_named(tmp_path: Path, name: str, file: str, content: str, problem: str) -> None:
    path = tmp_path / (file or "mine.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    with pytest.raises(InvalidInputError, match=problem):
        loaded(name, tmp_path if file else path)


def test_all_suites_are_installed() -> None:
    ours = ["letta-core-read", "letta-core-update", "letta-filesystem", "locomo", "md-memory", "mem-agent"]
    assert [name for name in suite_names() if name in ours] == ours
    with pytest.raises(InvalidInputError, match="'best' is not installed; there are .*md-memory"):
        find_suite("best")


@pytest.mark.parametrize("limit", [1, 3, 7, 20, 99])
def test_a_limit_takes_of_every_category(limit: int) -> None:
    set_up = SetUp(id="x")
    sizes = {"a": 80, "b": 15, "c": 5}
    samples = [
        Sample(
            id=f"{name}{number}",
            category=name,
            set_up=set_up,
            messages=("?",),
            expected="",
            grader=lambda answer: pytest.fail("is not graded"),
        )
        for name, count in sizes.items()
        for number in range(count)
    ]
    taken = _spread(samples, limit)
    assert len(taken) == len({sample.id for sample in taken}) == limit
    assert [sample for sample in samples if sample in taken] == taken
    if limit >= 3:
        assert {sample.category for sample in taken} == {"a", "b", "c"}
    if limit >= 20:
        assert Counter(sample.category for sample in taken)["a"] == pytest.approx(0.8 * limit, abs=2)
