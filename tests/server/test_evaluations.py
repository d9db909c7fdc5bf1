"""Evaluations over REST: scores with intervals, wrong answers, and two of them compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from tests.browser.scenes import make_evaluation
from tests.runs.support import journal_jobs
from trioagent.evals import compare_runs, read_scores

from .serving import serving

pytestmark = pytest.mark.real


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(f"/api/runs{path}", params=query)
    return answer.json() if answer.status_code == 200 else (answer.status_code, answer.json()["error"]["type"])


async def test_scores_wrong_answers_and_a_comparison(tmp_path: Path) -> None:
    await make_evaluation(tmp_path / "rules", "agent", 0.55)
    await make_evaluation(tmp_path / "search", "search-only", 0.35)
    await journal_jobs(tmp_path / "july")
    rows = [json.loads(line) for line in (tmp_path / "rules" / "samples.jsonl").read_text().splitlines()]
    wrong = [row["id"] for row in rows if row["score"] < 0.5]
    (tmp_path / "no-memories").mkdir()
    async with serving(tmp_path / "no-memories", runs=tmp_path) as served:
        client = served.client
        assert await get(client, "") == {"runs": ["july", "rules", "search"], "graded": ["rules", "search"]}
        found = await get(client, "/rules/evaluation")
        assert found == json.loads(json.dumps(attrs.asdict(read_scores(tmp_path / "rules"))))
        assert (found["suite"], found["baseline"], found["total"]["samples"]) == ("md-memory", "agent", 60)
        assert found["total"]["correct"] == 60 - len(wrong)
        page = await get(client, "/rules/jobs", state="wrong")
        assert [row["id"] for row in page["rows"]] == wrong and page["total"] == len(wrong)
        assert {(row["score"], row["reason"]) for row in page["rows"]} == {(0.0, "the reply does not say 'Porto'")}
        job = await get(client, f"/rules/jobs/{wrong[0]}")
        assert job["grade"]["reply"] == "I do not know where you live." and job["grade"]["expected"] == "Porto"
        assert [(change["path"], change["action"]) for change in job["grade"]["changes"]] == [("user.md", "changed")]
        assert "notes_before" not in job["outcome"]
        compared = await get(client, "/rules/evaluation/comparison", other="search")
        total, _ = compare_runs(tmp_path / "rules", tmp_path / "search")
        assert compared["total"] == attrs.asdict(total)
        assert sorted(compared["categories"]) == ["clarification", "filter", "retrieval", "update"]
        assert await get(client, "/july/evaluation") == (404, "not_found")
        assert await get(client, "/rules/evaluation/comparison", other="july") == (404, "not_found")
        assert await get(client, "/rules/evaluation/comparison", other="../rules") == (404, "unknown_run")
        said = (await client.get("/api/runs/july/evaluation")).json()["error"]["message"]
        assert said == "'july' holds no evaluation: there is no samples.jsonl in it"
        assert (await get(client, "/july/jobs/done-0"))["grade"] is None


@pytest.mark.parametrize(
    "row",
    ['{"kind": "sample"}\n', '{"kind": "sample", "id": "a", "score": "x"}\n', '{"kind": "sample", "id": "a"', "[1]\n"],
)
async def test_rows_that_are_none_are_an_error_with_words(tmp_path: Path, row: str) -> None:
    """Such as the last one of a run that is being written, or that was killed."""
    await make_evaluation(tmp_path / "rules", "agent", 0.55)
    path = tmp_path / "rules" / "samples.jsonl"
    path.write_text(path.read_text() + row)
    (tmp_path / "no-memories").mkdir()
    async with serving(tmp_path / "no-memories", runs=tmp_path) as served:
        found = await get(served.client, "/rules/evaluation")
        other = await get(served.client, "/rules/evaluation/comparison", other="rules")
    if not row.endswith("\n"):  # what is whole counts
        assert found["total"]["samples"] == other["total"]["samples"] == 60
    else:
        assert found == other == (404, "not_found")


async def test_scores_follow_the_rows(tmp_path: Path) -> None:
    """They are counted again once there is another row."""
    await make_evaluation(tmp_path / "rules", "agent", 0.55)
    path = tmp_path / "rules" / "samples.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:10]))
    (tmp_path / "no-memories").mkdir()
    async with serving(tmp_path / "no-memories", runs=tmp_path) as served:
        assert (await get(served.client, "/rules/evaluation"))["total"]["samples"] == 10
        path.write_text("".join(lines[:20]))
        assert (await get(served.client, "/rules/evaluation"))["total"]["samples"] == 20
        failure = {"id": "filter-99", "kind": "sample", "category": "filter", "suite": "md-memory", "model": "m"}
        (tmp_path / "rules" / "failures.jsonl").write_text(json.dumps(failure) + "\n")
        found = await get(served.client, "/rules/evaluation")
        assert (found["total"]["samples"], found["total"]["failed"]) == (21, 1)
        assert [each["category"] for each in found["categories"] if each["failed"]] == ["filter"]
