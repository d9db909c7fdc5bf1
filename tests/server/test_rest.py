"""REST as programs use it, over HTTP, against its own OpenAPI document."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from tests.browser.scenes import make_evaluation
from tests.runs.support import failed_outcome, journal_jobs
from tests.runs.test_control import going
from trioagent.memory import ChangeSet, CommitOrigin, Memory, VaultPolicy
from trioagent.server._openapi import document
from trioagent.server._rest import OPERATIONS

from .serving import Served, make_memories, serving

pytestmark = pytest.mark.real

NOTES = {
    "ada": {
        "user.md": "---\ntags: [a, b]\n---\n# Ada\n\nWorks with [[grace|Grace]] and [[Nobody]].\n",
        "entities/grace.md": "# Grace\n\nKnows [Ada](../user.md#Ada).\n",
    },
    "bob": {"user.md": "# Bob\n"},
}
DOCUMENT = document(OPERATIONS)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    make_memories(tmp_path / "memories", NOTES)
    await journal_jobs(tmp_path / "runs" / "july")
    async with serving(tmp_path / "memories", runs=tmp_path / "runs") as served:
        yield served


def checked(response: httpx.Response, path: str, method: str = "get") -> Any:
    """The body of an answer, which is what the document says of it."""
    described = DOCUMENT["paths"][path][method]["responses"]
    assert str(response.status_code) in described, response.text
    schema = described[str(response.status_code)]["content"]["application/json"]["schema"]
    jsonschema.validate(response.json(), {**schema, "components": DOCUMENT["components"]})
    return response.json()


async def test_every_reading_operation_answers_as_the_document_says(served: Served, tmp_path: Path) -> None:
    """All of them, with names filled in: none is left out when one is added."""
    await make_evaluation(tmp_path / "runs" / "rules", "agent", 0.55)
    names = {"memory": "ada", "run": "july", "job": "done-0"}
    changed = await served.client.put(
        "/api/memories/ada/notes/new.md", json={"text": "x"}, headers={"If-None-Match": "*"}
    )
    assert changed.status_code == 200
    names["revision"] = (await served.client.get("/api/memories/ada/history")).json()["revisions"][0]["id"]
    queries = {"search_notes": {"q": "grace"}, "compare_evaluations": {"other": "rules"}}
    of_evaluations = {"read_evaluation", "compare_evaluations"}
    paths = dict.fromkeys(("read_note", "list_backlinks", "read_former_note"), "user.md")
    for operation in OPERATIONS:
        if operation.method != "GET":
            continue
        key = operation.path.replace(":text", "")
        run = "rules" if operation.name in of_evaluations else "july"
        address = key.format(path=paths.get(operation.name, ""), **{**names, "run": run})
        response = await served.client.get(address, params=queries.get(operation.name, {}))
        assert response.status_code == 200, (address, response.text)
        checked(response, key)
        assert ("etag" in response.headers) == operation.versioned


async def test_the_document_is_served_and_valid(served: Served) -> None:
    found = (await served.client.get("/api/openapi.json")).json()
    assert found == json.loads(json.dumps(DOCUMENT))
    for schema in found["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    names = [operation["operationId"] for methods in found["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names)) == len(OPERATIONS)


async def test_a_note_says_what_it_looks_like_and_where_it_leads(served: Served) -> None:
    note = (await served.client.get("/api/memories/ada/notes/user.md")).json()
    assert note["path"] == "user.md"
    assert note["front_matter"] == [{"name": "tags", "value": "a, b"}]
    assert note["body"] == [
        ["h1", {"line": 4}, "Ada"],
        [
            "p",
            {"line": 6},
            "Works with ",
            ["note", {"path": "entities/grace.md"}, "Grace"],
            " and ",
            ["missing", {"problem": "no such note"}, "Nobody"],
            ".",
        ],
    ]
    assert [(link["shown"], link["path"]) for link in note["links"]] == [
        ("[[grace]]", "entities/grace.md"),
        ("[[Nobody]]", None),
    ]
    assert note["backlinks"] == ["entities/grace.md"]
    by_link = await served.client.get("/api/memories/ada/notes/grace")
    assert by_link.json()["path"] == "entities/grace.md"


async def test_search_and_graph(served: Served) -> None:
    hits = (await served.client.get("/api/memories/ada/search", params={"q": "knows"})).json()["hits"]
    assert [(hit["path"], hit["line"]) for hit in hits] == [("entities/grace.md", 3)]
    graph = (await served.client.get("/api/memories/ada/graph")).json()
    assert [node["path"] for node in graph["nodes"]] == ["entities/grace.md", "user.md"]
    assert graph["edges"] == [[0, 1, 1]]


async def test_a_write_changes_the_version_that_it_names(served: Served) -> None:
    address = "/api/memories/ada/notes/user.md"
    version = (await served.client.get(address)).headers["etag"]
    first = await served.client.put(address, json={"text": "# New\n"}, headers={"If-Match": version})
    assert checked(first, "/api/memories/{memory}/notes/{path}", "put")["changed"] is True
    second = await served.client.put(address, json={"text": "# Other\n"}, headers={"If-Match": version})
    assert second.status_code == 412
    assert checked(second, "/api/memories/{memory}/notes/{path}", "put")["error"]["type"] == "version_changed"
    assert (served.root / "ada" / "user.md").read_text() == "# New\n"
    third = await served.client.delete(address, headers={"If-Match": first.headers["etag"]})
    assert checked(third, "/api/memories/{memory}/notes/{path}", "delete")["version"] is None
    assert not (served.root / "ada" / "user.md").exists()


async def test_a_new_note_replaces_none(served: Served) -> None:
    for address, status in (("new/note.md", 200), ("user.md", 412)):
        answer = await served.client.put(
            f"/api/memories/ada/notes/{address}", json={"text": "x"}, headers={"If-None-Match": "*"}
        )
        assert answer.status_code == status, answer.text
    assert (served.root / "ada" / "new" / "note.md").read_text() == "x"


@pytest.mark.parametrize(
    ("method", "address", "options", "status", "kind"),
    [
        ("PUT", "/api/memories/ada/notes/user.md", {"json": {"text": "x"}}, 428, "no_precondition"),
        ("PUT", "/api/memories/ada/notes/user.md", {"json": {"words": "x"}}, 400, "invalid_input"),
        ("PUT", "/api/memories/ada/notes/user.md", {"content": b"{"}, 400, "invalid_input"),
        ("PUT", "/api/memories/ada/notes/user.md", {"content": b"[" * 5000}, 400, "invalid_input"),
        ("PUT", "/api/memories/ada/notes/a%2f..%2f..%2fb.md", {"json": {"text": "x"}}, 400, "invalid_input"),
        ("PUT", "/api/memories/ada/notes/.hidden.md", {"json": {"text": "x"}}, 403, "memory_protected"),
        ("PUT", "/api/memories/ada/notes/run.sh", {"json": {"text": "x"}}, 403, "memory_protected"),
        ("PUT", "/api/memories/ada/notes/n.md", {"content": b'{"text": "\\ud800"}'}, 400, "invalid_input"),
        ("GET", "/api/memories/ada/notes/none.md", {}, 404, "not_found"),
        ("GET", "/api/memories/ada/backlinks/none.md", {}, 404, "not_found"),
        ("GET", "/api/memories/%2e%2e/tree", {}, 404, "bad_memory_name"),
        ("GET", "/api/memories/nobody/tree", {}, 404, "unknown_memory"),
        ("GET", "/api/memories/ada/search", {}, 400, "invalid_input"),
        ("GET", "/api/memories/ada/search?q=...", {}, 400, "invalid_input"),
        ("GET", "/api/memories/ada/search?q=a&q=b", {}, 400, "invalid_input"),
        ("GET", "/api/memories/ada/search?q=a&limit=many", {}, 400, "invalid_input"),
        ("GET", "/api/memories/ada/search?q=a&limit=101", {}, 400, "invalid_input"),
        ("GET", "/api/memories/ada/search?q=a&nonsense=1", {}, 400, "invalid_input"),
        ("GET", "/api/memories/ada/graph?cluster=none", {}, 400, "invalid_input"),
        ("GET", "/api/memories/ada/history?limit=0", {}, 400, "invalid_input"),
        ("GET", "/api/memories/ada/diff?at=0123456", {}, 404, "revision_not_found"),
        ("GET", "/api/memories/ada/revisions/0123456/notes/user.md", {}, 404, "revision_not_found"),
        (
            "POST",
            "/api/memories/ada/restore",
            {"json": {"path": "user.md", "at": "0123456"}},
            404,
            "revision_not_found",
        ),
        ("POST", "/api/memories/ada/undo", {"json": {}}, 400, "invalid_input"),
        ("POST", "/api/memories/ada/undo", {"json": {"chat": "none"}}, 400, "invalid_input"),
        ("GET", "/api/runs/none", {}, 404, "unknown_run"),
        ("GET", "/api/runs/%2e%2e/jobs", {}, 404, "unknown_run"),
        ("GET", "/api/runs/july/jobs?state=lost", {}, 400, "invalid_input"),
        ("GET", "/api/runs/july/jobs?offset=-1", {}, 400, "invalid_input"),
        ("GET", "/api/runs/july/jobs/none", {}, 404, "not_found"),
        ("POST", "/api/memories", {"json": {"name": "../x"}}, 404, "bad_memory_name"),
        ("POST", "/api/memories", {"json": {"name": "bob"}}, 409, "memory_exists"),
    ],
)
async def test_what_is_wrong_is_said(
    served: Served, method: str, address: str, options: dict[str, Any], status: int, kind: str
) -> None:
    headers = {} if kind == "no_precondition" else {"If-None-Match": "*"}
    answer = await served.client.request(method, address, headers=headers, **options)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind), answer.text
    assert answer.json()["error"]["advice"]
    assert "Traceback" not in answer.text


async def test_memories_are_made(served: Served) -> None:
    answer = await served.client.post("/api/memories", json={"name": "eve"})
    assert checked(answer, "/api/memories", "post")["memories"] == ["ada", "bob", "eve"]
    assert (await served.client.get("/api/memories/eve/tree")).json() == {"notes": [], "bytes": 0}


async def test_a_change_is_in_the_history_and_can_be_taken_back(served: Served) -> None:
    address, base = "/api/memories/ada/notes/user.md", "/api/memories/ada"
    first = await served.client.get(address)
    second = await served.client.put(address, json={"text": "# New\n"}, headers={"If-Match": first.headers["etag"]})
    revisions = (await served.client.get(f"{base}/history")).json()["revisions"]
    assert [(revision["kind"], revision["notes"]) for revision in revisions] == [("agent", 1), ("baseline", 2)]
    diff = (await served.client.get(f"{base}/diff", params={"at": revisions[0]["id"]})).json()
    assert "+# New" in diff["text"]
    former = await served.client.get(f"{base}/revisions/{revisions[1]['id']}/notes/user.md")
    assert former.json()["content"] == first.json()["text"]
    body = {"path": "user.md", "at": revisions[1]["id"]}
    stale = await served.client.post(f"{base}/restore", json=body, headers={"If-Match": first.headers["etag"]})
    assert stale.status_code == 412
    restored = await served.client.post(f"{base}/restore", json=body, headers={"If-Match": second.headers["etag"]})
    assert checked(restored, "/api/memories/{memory}/restore", "post")["version"] == first.json()["version"]
    newest = (await served.client.get(f"{base}/history", params={"limit": 1})).json()["revisions"]
    assert [revision["kind"] for revision in newest] == ["restore"]
    older = await served.client.get(f"{base}/history", params={"before": newest[0]["id"], "path": "user.md"})
    assert [revision["kind"] for revision in older.json()["revisions"][:1]] == ["agent"]


async def test_commits_of_a_chat_are_taken_back(served: Served) -> None:
    memory = Memory(served.root / "bob", history=True)
    async with memory.lease() as lease:
        await lease.commit(ChangeSet(writes={"user.md": b"# Changed"}), origin=CommitOrigin(chat="c1"))
    undone = await served.client.post("/api/memories/bob/undo", json={"chat": "c1"})
    assert checked(undone, "/api/memories/{memory}/undo", "post") == {
        "revisions": 1,
        "paths": ["user.md"],
        "changed": True,
    }
    assert (served.root / "bob" / "user.md").read_text() == "# Bob\n"


async def test_names_that_no_text_can_hold_are_shown(served: Served) -> None:
    """A file's name may be any bytes, and a note's content as well."""
    folder = bytes(served.root / "ada")
    for name in (b"caf\xe9.md", b"<img src=x>.md"):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(b"\xff [[user]]")
    tree = (await served.client.get("/api/memories/ada/tree")).json()
    assert [note["path"] for note in tree["notes"]][:2] == ["<img src=x>.md", "caf\udce9.md"]
    note = (await served.client.get("/api/memories/ada/notes/<img src=x>.md")).json()
    assert note["text"] == "\ufffd [[user]]"


async def test_jobs_come_by_page_and_filter(served: Served) -> None:
    page = (await served.client.get("/api/runs/july/jobs", params={"limit": 2, "offset": 1})).json()
    assert (page["total"], [row["id"] for row in page["rows"]]) == (7, ["done-1", "done-2"])
    failures = (await served.client.get("/api/runs/july/failures")).json()["causes"]
    assert [(cause["cause"], cause["count"]) for cause in failures] == [
        ("ModelStatusError 429", 2),
        ("DeadlineExceededError", 1),
    ]
    query = {"cause": "ModelStatusError 429", "contains": "-1"}
    rows = (await served.client.get("/api/runs/july/jobs", params=query)).json()["rows"]
    assert [(row["id"], row["message"]) for row in rows] == [("failed-1", failed_outcome(1)["error"]["message"])]


async def test_a_job_is_shown_with_its_conversation(served: Served) -> None:
    job = (await served.client.get("/api/runs/july/jobs/done-0")).json()
    kinds = [entry["kind"] for entry in job["entries"]]
    assert kinds == ["said", "answer", "said", "answer"]
    assert job["entries"][1]["code"] == "create_file('user.md', 'hi')"
    assert job["entries"][3]["reply"] == "Noted."


async def test_a_single_run_directory_is_a_run_too(tmp_path: Path) -> None:
    await journal_jobs(tmp_path / "july")
    make_memories(tmp_path / "memories", NOTES)
    async with serving(tmp_path / "memories", runs=tmp_path / "july") as served:
        assert (await served.client.get("/api/runs")).json() == {"runs": ["july"], "graded": []}
        assert (await served.client.get("/api/runs/july")).json()["counts"] == {"done": 3, "failed": 3, "running": 1}


async def test_a_run_that_goes_on_is_controlled(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    async with going(tmp_path, "a", "b", "c") as run, serving(notes, runs=run.run_dir) as served:
        await run.model.wait_asked(2)

        async def do(action: str, **more: Any) -> Any:
            answer = await served.client.post("/api/runs/run/control", json={"do": action, **more})
            return checked(answer, "/api/runs/{run}/control", "post")

        assert (await do("status"))["running"] == ["a", "b"]
        assert (await do("pause"))["paused"] is True
        assert (await do("resume"))["paused"] is False
        assert (await do("cancel", job="none"))["error"]["status"] == 400
        await do("cancel", job="a")
        await do("stop")
    assert run.report is not None
    assert (run.report.stopped, run.report.failed) == ("asked", 0)
    async with serving(notes, runs=run.run_dir) as served:
        answer = await served.client.post("/api/runs/run/control", json={"do": "status"})
        assert checked(answer, "/api/runs/{run}/control", "post")["error"]["type"] == "run_not_reached"


async def test_notes_that_may_not_be_read_are_not_there(tmp_path: Path) -> None:
    make_memories(tmp_path, NOTES)
    policy = VaultPolicy(readable=("user.md",))
    async with serving(tmp_path, policy=policy) as served:
        base = "/api/memories/ada"
        tree = (await served.client.get(f"{base}/tree")).json()
        assert [note["path"] for note in tree["notes"]] == ["user.md"]
        note = (await served.client.get(f"{base}/notes/user.md")).json()
        assert (note["backlinks"], [link["path"] for link in note["links"]]) == ([], [None, None])
        for address in ("notes/entities/grace.md", "notes/grace", "backlinks/entities/grace.md"):
            assert (await served.client.get(f"{base}/{address}")).status_code == 404, address
        assert (await served.client.get(f"{base}/search", params={"q": "knows"})).json()["hits"] == []
        assert [node["path"] for node in (await served.client.get(f"{base}/graph")).json()["nodes"]] == ["user.md"]
        for address in ("history", "diff", "revisions/0123456/notes/entities/grace.md"):
            answer = await served.client.get(f"{base}/{address}")
            assert (answer.status_code, answer.json()["error"]["type"]) == (403, "history_protected")
        written = await served.client.put(
            f"{base}/notes/entities/grace.md", json={"text": "x"}, headers={"If-None-Match": "*"}
        )
        assert written.status_code == 403


async def test_a_note_that_an_agent_changes_meanwhile_is_not_written_over(served: Served) -> None:
    """The precondition is checked under the lease, not before it."""
    memory = Memory(served.root / "bob")
    version = (await served.client.get("/api/memories/bob/notes/user.md")).headers["etag"]
    async with memory.lease():
        (served.root / "bob" / "user.md").write_text("# By somebody else\n")
    answer = await served.client.put(
        "/api/memories/bob/notes/user.md", json={"text": "# Mine\n"}, headers={"If-Match": version}
    )
    assert answer.status_code == 412
    assert (served.root / "bob" / "user.md").read_text() == "# By somebody else\n"


async def test_a_body_of_many_values_is_read_in_steps_and_refused(served: Served) -> None:
    """Four megabytes of empty lists take Python's own reader seconds, in which nobody else is served."""
    body = b'{"text": [' + b"[]," * 200_000 + b"[]]}"
    for path in ("/api/memories/ada/notes/x.md", "/mcp/ada"):
        send = served.client.post if path.startswith("/mcp") else served.client.put
        answer = await send(path, content=body, headers={"If-None-Match": "*"})
        assert answer.status_code == 400
        assert "too many values" in answer.json()["error"]["message"]


async def test_errors_say_nothing_of_where_a_memory_lies(served: Served, tmp_path: Path) -> None:
    answer = await served.client.get("/api/memories/ada/diff", params={"since": "ffff"})
    assert answer.status_code == 404
    assert str(tmp_path) not in answer.text
    assert "the memory 'ada' has no revision" in answer.json()["error"]["message"]
