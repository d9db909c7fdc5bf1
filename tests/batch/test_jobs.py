"""Reading jobs: every bad row is named, and nothing is spent before."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from trioagent._errors import InvalidInputError
from trioagent._runs import checked_rows
from trioagent.batch import BadJobsError, BadRow, Job, job_from_row, read_jobs, survey_jobs

GOOD = {"id": "a", "memory": "memories/a", "messages": ["hi"]}


def write(path: Path, *rows: Any) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_a_row_that_is_too_long_is_skipped(tmp_path: Path) -> None:
    """Without reading it whole; the rows before and after it count."""
    path = write(tmp_path / "jobs.jsonl", GOOD, GOOD | {"messages": ["x" * 5000]}, GOOD | {"id": "b"})
    first, long, last = (row for _, row in checked_rows(path, job_from_row, max_bytes=200))
    assert (first, last) == (job_from_row(GOOD), job_from_row(GOOD | {"id": "b"}))
    assert long == BadRow(2, "is longer than 200 bytes")


def test_a_whole_job() -> None:
    row = GOOD | {
        "model": "vllm:x",
        "system_prompt": "s",
        "deadline": 5,
        "metadata": {"n": [1]},
        "messages": ["a", "b"],
    }
    job = job_from_row(row)
    assert (job.id, job.messages, job.deadline, job.metadata) == ("a", ("a", "b"), 5, {"n": [1]})


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([], "must be an object, not []"),
        ({"id": "a"}, "lacks the fields 'memory', 'messages'"),
        (GOOD | {"extra": 1}, "has the unknown field 'extra'; put your own data into metadata"),
        (GOOD | {"id": 5}, "id: must be a text, not 5"),
        (GOOD | {"id": " "}, "id: must be a text"),
        (GOOD | {"id": "a\0"}, "id: holds a character that no file can"),
        (GOOD | {"id": "\ud800"}, "id: holds a character that no file can"),
        (GOOD | {"memory": ""}, "memory: must be a text"),
        (GOOD | {"messages": []}, "messages: must be a list of at least one text"),
        (GOOD | {"messages": "hi"}, "messages: must be a list"),
        (GOOD | {"messages": ["hi", ""]}, "messages[1]: must be a text"),
        (
            GOOD | {"messages": ["hi", "x" * 200_001]},
            "messages[1]: has 200,001 characters, and an agent accepts at most",
        ),
        (GOOD | {"deadline": 0}, "deadline: must be a number of seconds above 0"),
        (GOOD | {"deadline": True}, "deadline: must be a number"),
        (GOOD | {"model": 3}, "model: must be a text"),
        (GOOD | {"metadata": [1]}, "metadata: must be an object"),
    ],
)
def test_bad_rows(row: Any, problem: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        job_from_row(row)
    assert problem in str(caught.value)
    path = write(tmp_path / "jobs.jsonl", GOOD | {"id": "first"}, row)
    with pytest.raises(BadJobsError) as many:
        survey_jobs(path)
    assert [bad.line for bad in many.value.rows] == [2]
    assert f"line 2: {many.value.rows[0].problem}" in str(many.value)


def test_every_bad_row_is_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "jobs.jsonl", GOOD, b"{not json", b"", GOOD | {"id": "b"}, b'{"id": "\xff"}', b"[" * 100_000, GOOD
    )
    with pytest.raises(BadJobsError) as caught:
        survey_jobs(path)
    problems = {bad.line: bad.problem for bad in caught.value.rows}
    assert list(problems) == [2, 5, 6, 7]
    assert problems[2].startswith("is not JSON: Expecting property name enclosed in double quotes at character 2")
    assert problems[5].startswith("is not UTF-8 at byte")
    assert problems[6].startswith("is not JSON")
    assert problems[7] == "has the id 'a' of line 1 again"


def test_many_bad_rows_are_summed_up(tmp_path: Path) -> None:
    path = write(tmp_path / "jobs.jsonl", *[b"x"] * 50)
    with pytest.raises(BadJobsError, match="50 bad rows") as caught:
        survey_jobs(path)
    assert "and 30 more" in str(caught.value)
    assert len(pickle.loads(pickle.dumps(caught.value)).rows) == 50


def test_a_good_file(tmp_path: Path) -> None:
    path = write(tmp_path / "jobs.jsonl", b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), b"  ", GOOD | {"id": "b"})
    assert survey_jobs(path).jobs == 2
    assert [item.id for _, item in read_jobs(path) if isinstance(item, Job)] == ["a", "b"]


def test_a_huge_row_is_bad_and_not_held(tmp_path: Path) -> None:
    path = write(tmp_path / "jobs.jsonl", b'"' + b"x" * (17 << 20) + b'"', GOOD)
    first, second = (item for _, item in read_jobs(path))
    assert isinstance(first, BadRow)
    assert "longer than" in first.problem
    assert isinstance(second, Job)


def test_no_file_and_no_jobs(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        survey_jobs(tmp_path / "none.jsonl")
    with pytest.raises(InvalidInputError, match="holds no job"):
        survey_jobs(write(tmp_path / "empty.jsonl", b""))


def test_the_digest_is_of_what_the_episode_is() -> None:
    job = job_from_row(GOOD)
    assert job.digest == job_from_row(GOOD | {"metadata": {"a": 1}, "deadline": 3}).digest
    assert job.digest != job_from_row(GOOD | {"messages": ["other"]}).digest
    assert job.digest != job_from_row(GOOD | {"model": "vllm:x"}).digest
