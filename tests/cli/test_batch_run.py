"""``trioagent batch``: a whole run as a process on a real model server, its outputs and its exit codes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import trio

from trioagent.testing import Fault, ModelRequest, Wire, serve_model

from .batch_support import REQUESTS, Model, arguments, batch, conversations, failures, outcome, report, rest, write_jobs
from .support import command, environment, started, trioagent

pytestmark = pytest.mark.real


async def test_a_good_run(home: Path, nursery: trio.Nursery) -> None:
    model = Model()
    server = await nursery.start(serve_model, model)
    write_jobs(home, 3, metadata={"n": [1]})
    done = await batch(home, server)
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("3 done, 0 failed; 180 tokens, ")
    talks, notes = outcome(home)
    assert notes == {f"{number}/log.md": "turn 0\nturn 2\n" for number in range(3)}
    assert [message["role"] for message in talks["job-1"]] == [
        *["system", "user", "assistant", "tool", "assistant"],
        *["user", "assistant", "tool", "assistant"],
    ]
    assert talks["job-1"][1] == {"role": "user", "content": "one 1"}
    row = conversations(home)["job-2"]
    assert (row["metadata"], row["turns"], row["stop_reasons"]) == ({"n": [1]}, REQUESTS, ["reply", "reply"])
    assert (row["usage"]["prompt_tokens"], row["usage"]["completion_tokens"]) == (48, 12)
    assert failures(home) == {}
    said = report(home)
    assert (said["done"], said["failed"], said["stopped"], said["tokens"]) == (3, 0, "", 180)
    assert said["seconds_by_state"]["model"] > 0

    again = await batch(home, server, "--quiet")
    assert (again.code, again.out, again.err) == (0, "", "")
    assert model.total == 3 * REQUESTS
    assert outcome(home) == (talks, notes)


async def test_a_job_is_taken_back_by_its_history(home: Path, nursery: trio.Nursery) -> None:
    server = await nursery.start(serve_model, Model())
    write_jobs(home, 2)
    assert (await batch(home, server, "--history", "--quiet")).code == 0
    memory = next(home.rglob("log.md")).parent
    logged = await trioagent("memory", "log", str(memory), "--json", home=home)
    job = json.loads(logged.out.splitlines()[0])["job"]
    assert job in ("job-0", "job-1")
    assert (await trioagent("memory", "undo", str(memory), "--job", job, home=home)).code == 0
    assert not (memory / "log.md").exists()


async def test_failed_jobs_and_trying_them_again(home: Path, nursery: trio.Nursery) -> None:
    broken = True

    def fault(request: ModelRequest) -> Wire | None:
        third = sum(message["role"] == "assistant" for message in request.messages) == 2
        one = request.messages[1]["content"]
        if broken and one == "one 1":
            return Fault.status(400, "no such thing")
        return Fault.status(500, "oops") if broken and one == "one 3" and third else None

    model = Model(fault=fault)
    server = await nursery.start(serve_model, model)
    write_jobs(home, 4, metadata={"keep": True})
    done = await batch(home, server)
    assert done.code == 1
    assert "failed: 2; see run/failures.jsonl; to retry them: trioagent batch jobs.jsonl " in done.err
    assert done.err.splitlines()[-1].endswith(" --retry-failed")
    failed = failures(home)
    assert failed["job-1"]["error"] == {
        "type": "ModelStatusError",
        "message": "the model's server answered with status 400: no such thing",
        "fields": {
            "status": 400,
            "detail": "no such thing",
            "retry_after": None,
            "code": "",
            "param": "",
            "attempts": 1,
        },
    }
    assert (failed["job-1"]["attempts"], failed["job-1"]["last_response"]) == (1, "")
    assert failed["job-3"]["error"]["fields"]["attempts"] == 2  # the same failure twice: no third request
    assert "That was turn 1." in failed["job-3"]["last_response"]
    assert failed["job-3"]["metadata"] == {"keep": True}
    assert set(conversations(home)) == {"job-0", "job-2"}
    assert not (home / "memories" / "1").exists()  # no code of that job ran

    asked = model.total
    again = await batch(home, server)
    assert again.code == 1
    assert model.total == asked
    assert set(failures(home)) == {"job-1", "job-3"}

    broken = False
    fixed = await batch(home, server, "--retry-failed")
    assert fixed.code == 0
    assert set(conversations(home)) == {f"job-{number}" for number in range(4)}
    assert failures(home) == {}
    assert model.total == asked + REQUESTS + (REQUESTS - 2)  # from the journal: the second one had two answers


async def test_limit(home: Path, nursery: trio.Nursery) -> None:
    server = await nursery.start(serve_model, Model())
    write_jobs(home, 5)
    for ended in (2, 4):
        done = await batch(home, server, "--limit", "2")
        assert done.code == 0
        assert "stopped at --limit 2; to resume: trioagent batch jobs.jsonl " in done.err
        assert len(conversations(home)) == ended
        assert report(home)["stopped"] == "limit"
    last = await batch(home, server, "--limit", "2")
    assert (last.code, report(home)["stopped"]) == (0, "")
    assert len(conversations(home)) == 5


async def test_a_budget_counts_all_runs(home: Path, nursery: trio.Nursery) -> None:
    """Answers cost 15 tokens; the server's small counts make the prompt's estimate (some 600) what decides."""
    model = Model()
    server = await nursery.start(serve_model, model)
    write_jobs(home, 6)
    done = await batch(home, server, "--max-tokens-total", "1000", "--max-concurrent", "3")
    assert done.code == 3
    assert "stopped: the budget of 1000 tokens is used up; to resume, give a larger --max-tokens-total: " in done.err
    first = report(home)
    assert first["stopped"] == "budget"
    assert 0 < first["tokens_total"] <= 1000
    asked = model.total
    same = await batch(home, server, "--max-tokens-total", "1000", "--max-concurrent", "3")
    assert same.code == 3
    assert report(home)["tokens_total"] <= 1000
    assert model.total - asked <= 6
    more = await batch(home, server, "--max-tokens-total", "5000")
    assert more.code == 0
    assert report(home)["tokens_total"] == 6 * REQUESTS * 15
    assert model.total == 6 * REQUESTS  # nothing was asked for twice
    assert set(outcome(home)[1].values()) == {"turn 0\nturn 2\n"}


async def test_a_money_budget_needs_prices(home: Path, nursery: trio.Nursery) -> None:
    server = await nursery.start(serve_model, Model())
    write_jobs(home, 2)
    unknown = await batch(home, server, "--max-cost", "1")
    assert unknown.code == 1
    assert "give prompt_price and completion_price" in unknown.err
    known = await batch(home, server, "--max-cost", "1", "--prompt-price", "1", "--completion-price", "2")
    assert known.code == 0
    assert 0 < report(home)["cost"] < 0.001


async def test_a_server_that_refuses_everything(home: Path, nursery: trio.Nursery) -> None:
    """No job is lost to a wrong key: all of them are resumed once it is right."""
    key = "wrong"
    model = Model(fault=lambda request: Fault.status(401, "bad key") if key == "wrong" else None)
    server = await nursery.start(serve_model, model)
    write_jobs(home, 40)
    done = await batch(home, server, "--max-concurrent", "4")
    assert done.code == 3
    assert (
        "stopped: the model's server answered with status 401 (check the API key): no key was sent: bad key; "
        in done.err
    )
    assert "go on: trioagent batch jobs.jsonl" in done.err
    assert 1 <= model.total <= 8
    said = report(home)
    assert (said["done"], said["failed"], said["stopped"]) == (0, 0, "refused")
    assert 1 <= said["left"] <= 12
    assert said["left"] + said["not_begun"] == 40
    assert failures(home) == {}
    key = "right"
    assert (await batch(home, server, "--quiet")).code == 0
    assert len(conversations(home)) == 40


async def test_a_storm_of_429(home: Path, nursery: trio.Nursery) -> None:
    """Every other request is refused; all jobs get through, and what waited counts as waiting."""
    asked = 0

    def fault(request: ModelRequest) -> Wire | None:
        nonlocal asked
        asked += 1
        return Fault.status(429, "slow down", retry_after=0.02) if asked % 2 and asked < 40 else None

    server = await nursery.start(serve_model, Model(fault=fault))
    write_jobs(home, 10)
    done = await batch(home, server)
    assert done.code == 0
    assert set(outcome(home)[1].values()) == {"turn 0\nturn 2\n"}
    assert report(home)["seconds_by_state"]["retrying"] > 0


async def test_requests_per_minute(home: Path, nursery: trio.Nursery) -> None:
    """The sixth request would be a minute later: the deadline stands still meanwhile, and a stop need not wait."""
    model = Model()
    server = await nursery.start(serve_model, model)
    write_jobs(home, 2)
    options = ("--rpm", "5", "--deadline", "0.8", "--max-concurrent", "1", "--grace", "3600")
    async with started(arguments(server, *options), home=home) as process:
        await model.wait_asked(5)
        await trio.sleep(1)
        process.send_signal(signal.SIGTERM)
        code, _, err = await rest(process)
    assert code == 130
    assert model.total == 5
    assert report(home)["left"] == 1, err
    assert report(home)["seconds_by_state"]["rate"] > 0.8


async def test_a_job_may_name_its_model_and_deadline(home: Path, nursery: trio.Nursery) -> None:
    model = Model(fault=lambda request: Fault.hang() if request.body["model"] == "slow" else None)
    server = await nursery.start(serve_model, model)
    rows = [
        {"id": "plain", "memory": "memories/a", "messages": ["hi"]},
        {"id": "other", "memory": "memories/b", "messages": ["hi"], "model": "other"},
        {"id": "slow", "memory": "memories/c", "messages": ["hi"], "model": "slow", "deadline": 0.3},
        {"id": "unknown", "memory": "memories/d", "messages": ["hi"], "model": "openai:x"},
    ]
    (home / "jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert (await batch(home, server)).code == 1
    assert set(conversations(home)) == {"plain", "other"}
    assert {job: row["error"]["type"] for job, row in failures(home).items()} == {
        "slow": "DeadlineExceededError",
        "unknown": "InvalidInputError",
    }
    assert failures(home)["slow"]["error"]["fields"] == {"seconds": 0.3}
    assert {request.body["model"] for request in server.requests} == {"any", "other", "slow"}


async def test_few_file_descriptors(home: Path, nursery: trio.Nursery) -> None:
    """More jobs at once than descriptors allow: fewer run, it is said, and none fails."""
    server = await nursery.start(serve_model, Model(delay=0.05))
    write_jobs(home, 120)
    limited = ["/bin/sh", "-c", 'ulimit -n 256; exec "$@"', "sh", *command(*arguments(server))]
    with trio.fail_after(120):
        done = await trio.run_process(
            [*limited, "--max-concurrent", "120"], capture_stderr=True, check=False, env=environment(home), cwd=home
        )
    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert said.startswith("note: 53 jobs at once instead of 120, since this process may open only 256 files")
    assert len(conversations(home)) == 120
    assert report(home)["seconds_by_state"].get("retrying", 0) == 0


async def test_a_changed_job_is_refused(home: Path, nursery: trio.Nursery) -> None:
    server = await nursery.start(serve_model, Model())
    write_jobs(home, 2)
    assert (await batch(home, server)).code == 0
    write_jobs(home, 2, system_prompt="Another one.")
    done = await batch(home, server)
    assert done.code == 1
    assert "error: job 'job-0' has changed since the run in 'run' began" in done.err
    assert "Traceback" not in done.err
    dry = await batch(home, server, "--dry-run")
    assert dry.code == 1
    assert "job 'job-0' has changed" in dry.err


async def test_dry_run(home: Path, nursery: trio.Nursery) -> None:
    model = Model()
    server = await nursery.start(serve_model, model)
    write_jobs(home, 3)
    before = sorted(home.rglob("*"))
    dry = await batch(home, server, "--dry-run")
    assert (dry.code, dry.err) == (0, "")
    lines = dry.out.splitlines()
    assert lines[0] == "jobs.jsonl: 3 jobs, every row is valid"
    assert lines[1] == "would run: 3 (new: 3, to resume: 0); ended before: 0 done, 0 failed"
    assert lines[2] == f"model: any at {server.base_url}"
    assert lines[3].startswith("tokens: at least ")
    assert sorted(home.rglob("*")) == before
    assert model.total == 0

    await batch(home, server, "--limit", "1")
    after = sorted(home.rglob("*"))
    dry = await trioagent("batch", "jobs.jsonl", "--run-dir", "run", "--dry-run", "--model", "offline-rules", home=home)
    assert (dry.code, dry.out) == (2, "")
    assert "model was 'any' and is 'offline-rules'" in dry.err
    accepted = ("--model", "offline-rules", "--accept-changes")
    dry = await trioagent("batch", "jobs.jsonl", "--run-dir", "run", "--dry-run", *accepted, home=home)
    assert "would run: 2 (new: 2, to resume: 0); ended before: 1 done, 0 failed" in dry.out
    assert "model: offline-rules" in dry.out
    assert sorted(home.rglob("*")) == after
    assert model.total == REQUESTS


async def test_dry_run_counts_what_is_tried_again(home: Path, nursery: trio.Nursery) -> None:
    """Jobs that failed, and those that are done without a reply."""

    def fault(request: ModelRequest) -> Wire | None:
        failing = request.messages[1]["content"] == "one 0"
        return Fault.status(400) if failing else None

    server = await nursery.start(serve_model, Model(fault=fault))
    write_jobs(home, 3)
    assert (await batch(home, server, "--limit", "2", "--max-tool-turns", "0")).code == 1
    dry = await batch(home, server, "--dry-run", "--max-tool-turns", "0")
    line = dry.out.splitlines()[1]
    assert line == "would run: 1 (new: 1, to resume: 0); ended before: 1 done, 1 failed, 1 without a reply"
    dry = await batch(home, server, "--dry-run", "--max-tool-turns", "0", "--retry-failed")
    line = dry.out.splitlines()[1]
    assert line.startswith("would run: 3 (new: 1, to resume: 0, to retry: 2); ended before: ")


async def test_jobs_from_stdin(home: Path, nursery: trio.Nursery) -> None:
    """They are read like those of a file; invalid ones are named, and the same rows resume the run."""
    model = Model()
    server = await nursery.start(serve_model, model)
    write_jobs(home, 3)
    rows = (home / "jobs.jsonl").read_bytes()
    (home / "jobs.jsonl").unlink()
    given = ["batch", "-", *arguments(server)[2:]]
    for bad, words in ((rows + rows, "error: stdin: 3 bad rows"), (b"\n", "error: stdin: holds no job")):
        done = await trioagent(*given, home=home, stdin=bad)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(words)
    done = await trioagent(*given, "--limit", "1", home=home, stdin=rows)
    assert (done.code, len(conversations(home))) == (0, 1)
    done = await trioagent(*given, "--dry-run", home=home, stdin=rows)
    assert done.out.startswith("stdin: 3 jobs, every row is valid\nwould run: 2 ")
    assert (await trioagent(*given, home=home, stdin=rows)).code == 0
    assert (len(conversations(home)), model.total) == (3, 3 * REQUESTS)


async def test_drop_failed(home: Path, nursery: trio.Nursery) -> None:
    """What is kept of a failed job is gone, and the job begins again from the start."""
    broken = True

    def fault(request: ModelRequest) -> Wire | None:
        return Fault.status(400) if broken and request.messages[-1]["content"] == "two" else None

    model = Model(fault=fault)
    server = await nursery.start(serve_model, model)
    write_jobs(home, 2)
    assert (await batch(home, server)).code == 1
    done = await trioagent("batch", "drop-failed", "run", "job-0", "job-9", home=home)
    assert (done.code, done.out, done.err) == (2, "", "error: jobs: have not failed in this run: 'job-9'\n")
    done = await trioagent("batch", "drop-failed", "run", "job-0", home=home)
    assert (done.code, done.out) == (0, "dropped 3 events of 1 failed jobs in run\n")
    broken = False
    model.asked.clear()
    assert (await batch(home, server, "--retry-failed")).code == 0
    assert model.total == REQUESTS + 2  # the one from the start, the other from where it was
    notes = outcome(home)[1]
    assert notes["0/log.md"].startswith("turn 0\n")
    assert notes["1/log.md"] == "turn 0\nturn 2\n"
    assert report(home)["all_starts"]["starts"] == 2


async def test_shards_run_apart_and_are_merged(home: Path, nursery: trio.Nursery) -> None:
    model = Model()
    server = await nursery.start(serve_model, model)
    write_jobs(home, 6)
    for index in (1, 2):
        command = ["batch", "jobs.jsonl", "--shard", f"{index}/2", "--run-dir", f"part-{index}", "--model", "any"]
        done = await trioagent(*command, "--base-url", server.base_url, home=home)
        assert done.code == 0, done.err
    assert model.total == 6 * REQUESTS
    merged = await trioagent("batch", "merge", "run", "part-2", "part-1", home=home)
    assert (merged.code, merged.err) == (0, "")
    assert merged.out == "6 done, 0 failed; 360 tokens; 2 of 2 shards in run\n"
    assert sorted(conversations(home)) == [f"job-{number}" for number in range(6)]
    assert report(home)["complete"]
    looked_at = await trioagent("batch", "status", "run", home=home)
    assert looked_at.out.startswith("run: merged shards\njobs begun so far: 6 done, 0 failed, 0 to resume\n")
    assert "the same command" not in looked_at.out
    part = await trioagent("batch", "merge", "run", "part-1", home=home)
    assert part.code == 3
    assert part.out.endswith("1 of 2 shards in run\nmissing: 2/2\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["batch", "jobs.jsonl", "--run-dir", "r", "--model", "m", "--shard", "3/2"], "3/2 does not exist: there are"),
        (["batch", "jobs.jsonl", "--run-dir", "r", "--model", "m", "--shard", "x"], "must be written as 2/8"),
        (["batch", "merge", "out"], "Missing argument 'SHARD_DIR...'"),
        (["batch", "merge", "out", "nowhere"], "'nowhere' holds no journal.db"),
    ],
)
async def test_bad_shards(arguments: list[str], words: str, home: Path) -> None:
    write_jobs(home, 1)
    bad = await trioagent(*arguments, home=home)
    assert (bad.code, bad.out) == (2, "")
    assert words in bad.err
    assert sorted(path.name for path in home.iterdir()) == ["jobs.jsonl"]
