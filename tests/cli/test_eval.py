"""``trioagent eval``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trioagent.batch import JournalReader, read_rows

from .conftest import Run

pytestmark = pytest.mark.real

MD = ("eval", "md-memory", "--model", "offline-rules")


def test_a_suite_is_tried_and_compared(run: Run, home: Path) -> None:
    done = run(*MD, "--out", "one", "--limit", "8", "--quiet")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "clarification",
        "filter",
        "retrieval",
        "update",
        "all",
        "accuracy",
    ]
    assert lines[-1].endswith("md-memory agent offline-rules, 8 samples")
    again = run(*MD, "--out", "one", "--limit", "8", "--quiet")
    assert (again.code, again.out) == (0, done.out)
    other = run("eval", "md-memory", "--baseline", "search-only", "--out", "two", "--limit", "8", "--quiet")
    assert (other.code, other.err) == (0, "")
    assert other.out.splitlines()[-1].endswith("md-memory search-only no model, 8 samples")
    compared = run("eval", "compare", "one", "two")
    assert compared.code == 0
    assert compared.out.splitlines()[-1].startswith("difference ")
    assert "all" in compared.out
    report = json.loads((home / "one" / "eval.json").read_text())
    assert report["total"]["samples"] == 8
    assert report["total"]["low"] <= report["total"]["score"] <= report["total"]["high"]


def test_json_progress_leaves_no_table_on_stdout(run: Run) -> None:
    done = run(*MD, "--out", "one", "--limit", "1", "--json-progress")
    last = json.loads(done.out.splitlines()[-1])
    assert last["report"]["total"]["samples"] == 1


def test_suites_are_listed(run: Run) -> None:
    listed = run("eval", "list")
    assert listed.code == 0
    assert any(line.startswith("locomo ") and "locomo10.json" in line for line in listed.out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("eval", "best", "--model", "offline-rules", "--out", "x"), "suite: 'best' is not installed; there are"),
        (("eval", "locomo", "--model", "offline-rules", "--out", "x"), "data: is needed for locomo (--data PATH)"),
        (("eval", "md-memory", "--out", "x"), "--model: no model is chosen, and a run has no default"),
        ((*MD, "--out", "x", "--baseline", "full-context"), "full-context needs a language model"),
        (("eval", "compare", ".", "."), "holds no evaluation: there is no samples.jsonl in it"),
    ],
)
def test_bad_input(run: Run, arguments: tuple[str, ...], problem: str) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert problem in done.err
    assert len(done.err.splitlines()) == 1


def test_runs_of_different_suites_are_not_compared(run: Run, home: Path) -> None:
    for name in ("a", "b"):
        (home / name).mkdir()
        row = {"id": "1", "kind": "sample", "suite": name, "category": "c", "score": 1}
        (home / name / "samples.jsonl").write_text(json.dumps(row) + "\n")
    done = run("eval", "compare", "a", "b")
    assert done.code == 2
    assert "are of different suites: a and b" in done.err


def test_what_is_not_compared_is_said(run: Run, home: Path) -> None:
    def write(name: str, *ids: str, **more: object) -> None:
        (home / name).mkdir()
        same = {"kind": "sample", "suite": "s", "category": "c", "score": 1, "said": ["q"], "expected": "a"}
        lines = (json.dumps({"id": one, **same, **more}) for one in ids)
        (home / name / "samples.jsonl").write_text("".join(f"{line}\n" for line in lines))

    write("a", "1", "2", "3", "4")
    write("b", "2", "3", "5")
    write("c", "2", expected="another")
    done = run("eval", "compare", "a", "b")
    assert done.code == 0
    assert "not compared: 2 samples graded in a only, and 1 in b only" in done.out
    assert done.out.splitlines()[-1].startswith("difference +0.000")
    other = run("eval", "compare", "a", "c")
    assert other.code == 2
    assert "are of different versions of s: the sample '2' differs in 'expected'" in other.err


def test_the_profile_and_the_policy_count(run: Run) -> None:
    config = Path("trioagent.toml")
    config.write_text(
        '[profiles.default]\nmodel_profile = "mem-agent"\nblind_overwrite = "allow"\ndate = "Monday"\n'
        "[profiles.default.policy]\nreadable = ['**', '!private/**']\n"
    )
    done = run(*MD, "--out", "one", "--limit", "2", "--quiet", "--config", str(config), "--read-only")
    assert done.code == 0
    with JournalReader(Path("one")) as journal:
        pins = journal.read_meta("pins")
    assert pins is not None
    assert (pins["profile"], pins["blind_overwrite"], pins["date"]) == ("mem-agent", "allow", "Monday")
    assert pins["policy"] == {"readable": ["**", "!private/**"], "read_only": True}
    for row in read_rows(Path("one/samples.jsonl")):
        assert row["messages"][0]["content"].endswith("Today is Monday.\n")
        assert "You can read the notes, and change none of them." in row["messages"][0]["content"]
        assert row["left_out"] == {"results": 0, "messages": 0, "turns": 0}
