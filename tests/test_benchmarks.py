"""The benchmark suite measures what it says: its server, its picture, its fit, and one small run."""

from __future__ import annotations

import json
import runpy
import socket
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trio

from benchmarks import search as search_quality
from benchmarks import structure
from benchmarks._paired_worker import FIGURES
from benchmarks.paired import Cost, row
from benchmarks.suite import systems
from benchmarks.suite.chart import Panel, chart
from benchmarks.suite.drivers.harness import Figures, Order
from benchmarks.suite.environments import NotInstalledError, interpreter
from benchmarks.suite.episode import NOTE, REPLY, TEXT, message
from benchmarks.suite.fit import exponent, last_exponent
from benchmarks.suite.load import get_json, load
from benchmarks.suite.runs import percentile, run, summary
from benchmarks.suite.server import ROOT, running_server
from trioagent import ModelConfig, complete
from trioagent._messages import ChatMessage
from trioagent.models import open_model

pytestmark = pytest.mark.real

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_server() as address:
        yield address


async def ask(client: httpx.AsyncClient, url: str, answered: int) -> dict[str, Any]:
    """The choice that a request with so many answers in it gets."""
    past = [{"role": "assistant", "content": 'I quote "role": "assistant"'}] * answered
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": message(7)}, *past]
    response = await client.post(url, json={"model": "m", "messages": messages})
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


async def test_server_speaks_tags(server: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"{server}/tags/0.0/v1/chat/completions"
        texts = [(await ask(client, url, turn))["message"]["content"] for turn in range(3)]
    assert NOTE in texts[0] and "<python>" in texts[0]
    assert "list_files()" in texts[1]
    assert f"<reply>{REPLY}</reply>" in texts[2]


@pytest.mark.parametrize(("style", "last"), [("tools", REPLY), ("tools-final", None)])
async def test_server_speaks_tool_calls(server: str, style: str, last: str | None) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"{server}/{style}/0.0/v1/chat/completions"
        choices = [await ask(client, url, turn) for turn in range(3)]
    assert [choice["finish_reason"] for choice in choices[:2]] == ["tool_calls"] * 2
    first, second = (choice["message"]["tool_calls"][0]["function"] for choice in choices[:2])
    assert (first["name"], json.loads(first["arguments"])) == ("remember", {"path": NOTE, "text": TEXT})
    assert (second["name"], json.loads(second["arguments"])) == ("list_notes", {})
    assert choices[2]["message"]["content"] == last
    if last is None:
        final = choices[2]["message"]["tool_calls"][0]["function"]
        assert (final["name"], json.loads(final["arguments"])) == ("final_answer", {"answer": REPLY})


@pytest.mark.parametrize("stream", [True, False])
async def test_server_is_read_by_our_client(server: str, stream: bool) -> None:
    config = ModelConfig(base_url=f"{server}/tags/0.0/v1", model="m", stream=stream)
    async with open_model(config) as model:
        end = await complete(model, [ChatMessage("user", "hello")])
    assert end.text.startswith("<think>") and end.text.endswith("</python>")
    assert end.usage.completion_tokens == 40


async def test_server_keeps_the_time_and_says_who_asked(server: str) -> None:
    get_json(server + "/trace")
    async with httpx.AsyncClient(trust_env=False) as client, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask, client, f"{server}/tags/0.05/v1/chat/completions", 2)
    rows = get_json(server + "/trace")
    assert [(agent, turn) for agent, turn, _, _ in rows] == [(7, 2)] * 3
    assert all(left - came >= 0.05 for _, _, came, left in rows)
    assert get_json(server + "/trace") == []


async def test_server_takes_a_request_in_pieces_and_counts_those_who_leave(server: str) -> None:
    before = get_json(server + "/stats")
    address = urlsplit(server)
    body = json.dumps({"messages": [{"role": "user", "content": "x"}], "stream": True}).encode()
    head = f"POST /talk500/0.0/v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    stream = await trio.open_tcp_stream(str(address.hostname), int(address.port or 0))
    async with stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (head[:20], head[20:] + body[:5], body[5:]):
            await stream.send_all(piece)
            await trio.sleep(0.01)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 OK")
    with trio.fail_after(10):
        while get_json(server + "/stats")["answers_cut_by_client"] == before["answers_cut_by_client"]:
            await trio.sleep(0.01)
    assert get_json(server + "/stats")["tokens_sent"] - before["tokens_sent"] < 100


async def test_server_refuses_what_it_does_not_know(server: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for path in (
            "/song/0.0/v1/chat/completions",
            "/tags/soon/v1/chat/completions",
            "/v1/models",
            "/talkx/0/v1/chat/completions",
        ):
            assert (await client.post(server + path, json={})).status_code == 404


def test_load_generator_counts(server: str) -> None:
    found = load(server, 8, 0.2, stream=True)
    assert found["requests_per_second"] > 0 and found["server_cpu_us"] > 0


def test_picture_has_a_line_for_each_system() -> None:
    names = ["trioagent", "a & b <c>"]
    lines = {name: [(1.0, 2.0), (10.0, 3.0), (100.0, 0.0)] for name in names}
    root = ElementTree.fromstring(
        chart("Title & more", [Panel("wall", lines, 3.0), Panel("CPU", {names[0]: [(1, 1)]})])
    )
    drawn = [line.get("data-system") for line in root.iter(f"{SVG}polyline")]
    assert drawn == [*names, names[0]]
    circles = list(root.iter(f"{SVG}circle"))
    assert len(circles) == 5  # what has no logarithm is left out
    size = [float(number) for number in root.attrib["viewBox"].split()]
    assert all(0 < float(c.attrib["cx"]) < size[2] and 0 < float(c.attrib["cy"]) < size[3] for c in circles)
    heights = [float(c.attrib["cy"]) for c in circles[:2]]
    assert heights[0] > heights[1]  # more is further up


def test_picture_of_nothing_is_well_formed() -> None:
    ElementTree.fromstring(chart("nothing", [Panel("wall", {})]))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_exponent_of_a_power_law(power: float) -> None:
    points = [(x, 3.0 * x**power) for x in (1, 10, 100, 1000)]
    assert exponent(points) == pytest.approx(power)
    assert last_exponent(points) == pytest.approx(power)


def test_exponent_at_the_end_sees_through_a_fixed_cost() -> None:
    points = [(x, 100.0 + x) for x in (1, 10, 100, 1000, 100_000)]
    assert exponent(points) < 0.7 < 0.95 < last_exponent(points)


@pytest.mark.parametrize("points", [[], [(1, 1)], [(1, 1), (1, 2)], [(1, 0), (2, 1)]])
def test_exponent_needs_points_with_logarithms(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="needs two points"):
        exponent(points)


def test_overhead_of_turns_adds_up_to_the_episode() -> None:
    order = Order("", "tags", "", 1.0, agents=1, rounds=1, warm=0, folder="", packages=[])
    figures = Figures(walls=[3.6], own_cpu=0.006, children_cpu=0.01, episodes=[(0, 10.0, 13.6)])
    trace = [[900_000, 0, 1.0, 2.0], [0, 0, 10.1, 11.1], [0, 1, 11.3, 12.3], [0, 2, 12.4, 13.5]]
    found = summary(figures, trace, order)
    # Turns last 1.3, 1.1 and 1.2 s.
    assert found["turn_overhead_p50_ms"] == pytest.approx(200)
    assert found["turn_overhead_p99_ms"] == pytest.approx(300)
    assert found["server_late_p99_ms"] == pytest.approx(100)
    assert (found["cpu_process_ms"], found["cpu_children_ms"]) == (pytest.approx(6), pytest.approx(10))
    assert found["requests_extra"] == 0


def test_percentile() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(n) for n in range(100)], 0.99) == 99.0
    assert percentile([], 0.5) != percentile([], 0.5)  # not a number


def test_what_is_not_run_says_why(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    many = run(systems.by_name("asyncio"), 1000, server=server, latency=0.0, limit=1.0)
    assert (many["status"], many["reason"][:12]) == ("not tried", "at most 100:")

    def fails(pins: str) -> str:
        raise NotInstalledError(f"no index has {pins}")

    monkeypatch.setattr("benchmarks.suite.runs.interpreter", fails)
    absent = run(systems.by_name("langgraph"), 1, server=server, latency=0.0, limit=1.0)
    assert (absent["status"], absent["reason"]) == ("not installed", "no index has langgraph")


def test_a_peer_that_cannot_be_installed_says_what_pip_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "absent.txt").write_text("./no-such-folder\n")
    monkeypatch.setattr("benchmarks.suite.environments._PINS", tmp_path)
    with pytest.raises(NotInstalledError, match="no-such-folder"):
        interpreter("absent", tmp_path / "cache")
    assert not list(tmp_path.rglob(".installed"))


@pytest.mark.parametrize(
    "system", [system for system in systems.SYSTEMS if system.pins], ids=lambda system: system.name
)
def test_every_peer_has_a_driver_and_exact_pins(system: systems.System) -> None:
    suite = ROOT / "benchmarks" / "suite"
    assert (suite / "drivers" / f"{system.driver}.py").is_file()
    lines = (suite / "pins" / f"{system.pins}.txt").read_text().splitlines()
    pins = {line.split("==")[0] for line in lines if not line.startswith("#")}
    assert all("==" in line for line in lines if not line.startswith("#"))
    assert set(system.packages) <= pins


def test_a_small_run_yields_all_figures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "suite", "--agents", "1", "--systems", "trioagent,asyncio-lean"]
    ended = subprocess.run(
        [*command, "--latency", "0.02", "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "Multiples of trioagent's" in ended.stdout
    document = json.loads((tmp_path / "suite.json").read_text())
    assert set(document) == {"date", "commit", "machine", "latency", "systems", "runs"}
    assert [(run["system"], run["agents"], run["status"]) for run in document["runs"]] == [
        ("trioagent", 1, "ok"),
        ("asyncio-lean", 1, "ok"),
    ]
    for found in document["runs"]:
        assert found["errors"] == {} and found["episodes"] == found["rounds"] == 3 and found["requests_extra"] == 0
        for name in ("wall_s", "cpu_process_ms", "cpu_ms", "rss_peak_mib", "tree_peak_mib", "turn_overhead_p99_ms"):
            assert found[name] > 0, name
        assert found["wall_s"] >= found["ideal_wall_s"] == pytest.approx(0.06)
        assert {"rss_per_agent_kib", "turn_overhead_p50_ms", "cpu_children_ms", "server_cpu_s"} <= set(found)
        assert "httpx" in found["versions"]
    assert document["runs"][0]["versions"]["sandbox"] in ("kernel", "kernel-lite", "monty")
    assert document["runs"][1]["cpu_children_ms"] > 0  # two interpreters
    drawn = ElementTree.parse(tmp_path / "suite.svg").getroot().iter(f"{SVG}polyline")
    assert [line.get("data-system") for line in drawn] == ["trioagent", "asyncio-lean"] * 3


def test_structure_counts_files_lines_and_exports(tmp_path: Path) -> None:
    for path, text in {
        "trioagent/__init__.py": "from ._one import A as A\nfrom ._one import B\n",
        "trioagent/_one.py": "x = 1\n" * 70,
        "trioagent/part/__init__.py": "",
        "trioagent/part/_two.py": "x = 1\n" * 3,
        "tests/test_one.py": "\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = structure.measure(tmp_path)
    assert found == {
        "trioagent": structure.Size(files=4, lines=75, short=1, names=1),
        "trioagent/*.py": structure.Size(files=2, lines=72, short=0, names=1),
        "trioagent/part": structure.Size(files=2, lines=3, short=1),
        "tests": structure.Size(files=1, lines=1, short=1),
    }


def test_names_of_benchmarks_are_modules() -> None:
    entry = runpy.run_module("benchmarks.__main__", run_name="entry")
    assert {"suite", "growth", "cut", "load", "peers", "one_agent", "many_agents", "model_requests"} <= set(
        entry["names"]()
    )
    for module in entry["names"]().values():
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()


def test_a_paired_row_shows_the_ratio_of_the_rounds_not_of_the_medians() -> None:
    figure = FIGURES["chat"]
    # The machine got slower and slower; in each round one side took 1.1 times as long as the other.
    costs = [(Cost(0, ms, 600), Cost(0, 1.1 * ms, 630)) for ms in (1.0, 2.0, 4.0, 8.0, 16.0)]
    shown = row(figure, costs)
    assert shown.split()[-6:] == ["1.100", "(1.100", "to", "1.100)", "600", "630"]
    assert "4.000" in shown and "4.400" in shown


def test_two_checkouts_are_measured_in_turns() -> None:
    command = [sys.executable, "-m", "benchmarks", "--against", str(ROOT), "--rounds", "2", "chat"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(FIGURES["chat"].what))
    base, now = map(float, line[52:].split()[1:3])
    assert base > 0 and now > 0


def test_only_a_checkout_can_be_measured(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--against", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and "no checkout of this project" in done.stderr


def test_search_quality_counts_right_lines_and_notes(tmp_path: Path) -> None:
    turns = [
        {"speaker": "Ada", "dia_id": "D1:1", "text": "Where did you sail?"},
        {"speaker": "Bo", "dia_id": "D1:2", "text": "We sailed to Malta."},
    ]
    asked = [{"question": "Where did Bo sail?", "evidence": ["D1:2"]}, {"question": "Who?", "evidence": []}]
    talk = {"session_1": turns, "session_1_date_time": "8 May", "session_2": []}
    (tmp_path / "locomo.json").write_text(json.dumps([{"conversation": talk, "qa": asked}]))
    (corpus,) = search_quality.locomo(tmp_path)
    assert corpus.notes == {"sessions/01.md": "# 8 May\n\n- Ada: Where did you sail?\n- Bo: We sailed to Malta.\n"}
    (question,) = corpus.questions
    assert question.right == {("sessions/01.md", 4)}
    for score in search_quality.measure([corpus], noise=0).values():
        assert (score.questions, score.at[10], score.notes_at_1) == (1, 1, 1)
