"""What is kept of a job's attempts when their events go: what blocks changed, and what was said before."""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest
import trio

from trioagent._config import VaultPolicy
from trioagent._runs import ChangeLog, JournalError, KeptAttempt, NoteImage, ResultEvent, RunBrowser, WorkEvent
from trioagent._runs._journal import FILE_NAME, open_journal
from trioagent._runs._kept import (
    MOST_ATTEMPTS,
    MOST_BYTES,
    MOST_NAMES,
    MOST_NOTES,
    UNKNOWN,
    ChangedNote,
    ChangingBlock,
    copy_kept,
    has_kept,
)
from trioagent.batch import drop_failed
from trioagent.memory import access_rules
from trioagent.sandbox import BlockResult
from trioagent.tools import version_of

from .support import DONE, answer, failed_outcome, result

pytestmark = pytest.mark.real

ONE, TWO, THREE = (version_of(text) for text in (b"one", b"two", b"three"))


def unjournaled(read: dict[str, str | None], written: dict[str, str | None]) -> ResultEvent:
    """What a block left in the memory that had committed when its process was killed."""
    ran = BlockResult(locals={}, error="", printed="", saved=True, tier="kernel")
    return ResultEvent(result=ran, read=read, written=written)


def changes(log: ChangeLog) -> list[tuple[str, str | None, str | None]]:
    return [(note.path, note.before, note.after) for block in log.blocks for note in block.notes]


def journal(run_dir: Path) -> sqlite3.Connection:
    return sqlite3.connect(run_dir / FILE_NAME)


def kept(run_dir: Path, job: str = "a") -> list[KeptAttempt]:
    with RunBrowser(run_dir) as browser:
        return list(browser.job(job).kept)


# --- a log of changes


def test_as_a_block_runs_both_contents_are_known() -> None:
    log = ChangeLog()
    log.add(0, result({"a.md": (None, b"one")}), {"a.md": b"one"})
    log.add(2, result({"a.md": (b"one", b"two"), "b.md": (b"three", None)}), {"a.md": b"two"})
    assert log.blocks == [
        ChangingBlock(0, [ChangedNote("a.md", None, ONE)]),
        ChangingBlock(2, [ChangedNote("a.md", ONE, TWO), ChangedNote("b.md", THREE, None)]),
    ]
    assert log.contents == {ONE: b"one", TWO: b"two", THREE: b"three"}
    assert log.unread == {}


def test_a_block_that_wrote_what_was_there_has_changed_nothing() -> None:
    log = ChangeLog()
    log.add(0, unjournaled({}, {"a.md": ONE}), {"a.md": b"one"})
    log.add(1, result({"a.md": (b"one", b"one")}))
    assert not log


async def test_of_an_earlier_process_the_last_content_is_read_if_it_still_is_there(tmp_path: Path) -> None:
    log = ChangeLog()
    log.add(0, result({"a.md": (None, b"one"), "b.md": (None, b"one"), "c.md": (None, b"three")}))
    log.add(1, result({"a.md": (b"one", b"two"), "gone/d.md": (None, b"two")}))
    log.add(2, result({"c.md": (b"three", None)}))
    assert log.unread == {"a.md": TWO, "b.md": ONE, "gone/d.md": TWO}  # b.md has what a.md had
    (tmp_path / "a.md").write_bytes(b"two")
    await log.read_rest(tmp_path)
    assert log.contents == {ONE: b"one", TWO: b"two", THREE: b"three"}


@pytest.mark.parametrize("there", ["nothing", "another text", "a pipe", "a link", "a folder", "no memory"])
async def test_what_is_not_in_that_version_any_more_is_not_shown(there: str, tmp_path: Path) -> None:
    memory, elsewhere = tmp_path / "m", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"one")
    if there != "no memory":
        memory.mkdir()
    note = memory / "a.md"
    makers: dict[str, Callable[[], object]] = {
        "another text": lambda: note.write_bytes(b"one more"),
        "a pipe": lambda: os.mkfifo(note),
        "a link": lambda: note.symlink_to(elsewhere),
        "a folder": note.mkdir,
    }
    makers.get(there, list)()
    log = ChangeLog()
    log.add(0, result({"a.md": (None, b"one")}))
    with trio.fail_after(5):
        await log.read_rest(memory)
    assert (log.contents, log.unread) == ({}, {})
    assert changes(log) == [("a.md", None, ONE)]


async def test_without_anything_to_read_nothing_is_waited_for(tmp_path: Path) -> None:
    log = ChangeLog()
    log.add(0, result({"a.md": (None, b"one")}), {"a.md": b"one"})
    with trio.CancelScope() as scope:
        scope.cancel()
        await log.read_rest(tmp_path)
    assert not scope.cancelled_caught


def test_of_a_block_that_was_not_journaled_what_it_had_read_tells_what_was_there() -> None:
    log = ChangeLog()
    log.add(0, result({"a.md": (None, b"one")}))
    written: dict[str, str | None] = {"a.md": TWO, "new.md": ONE, "other.md": TWO, "same.md": THREE, "gone.md": None}
    log.add(1, unjournaled({"new.md": None, "same.md": THREE}, written))
    assert changes(log)[1:] == [
        ("a.md", ONE, TWO),
        ("new.md", None, ONE),
        ("other.md", UNKNOWN, TWO),
        ("gone.md", UNKNOWN, None),
    ]


def test_notes_that_may_not_be_read_are_not_named() -> None:
    log = ChangeLog()
    log.rules = access_rules(VaultPolicy(readable=("open/**",)))
    log.add(0, result({"open/a.md": (b"one", b"two"), "closed/b.md": (b"three", b"two")}), {"open/a.md": b"two"})
    assert changes(log) == [("open/a.md", ONE, TWO)]
    assert log.contents == {ONE: b"one", TWO: b"two"}


def test_no_more_contents_are_kept_than_there_is_room_for() -> None:
    log, large = ChangeLog(), b"x" * (MOST_BYTES - 10)
    log.add(0, result({"a.md": (None, large)}), {"a.md": large})
    log.add(1, result({"a.md": (large, b"y" * 20), "b.md": (None, b"one")}), {"a.md": b"y" * 20, "b.md": b"one"})
    assert [path for path, *_ in changes(log)] == ["a.md", "a.md", "b.md"]
    assert log.contents == {version_of(large): large, ONE: b"one"}
    lost = ResultEvent(result=result({}).result, read={}, written={"c.md": ONE}, images={"c.md": NoteImage(lost=True)})
    log.add(2, lost, {"c.md": b"one"})
    assert changes(log)[-1] == ("c.md", UNKNOWN, ONE)


def test_ten_thousand_notes_are_counted() -> None:
    many = {f"{number}.md": (None, b"one") for number in range(10_000)}
    log = ChangeLog()
    log.add(0, result(many), dict.fromkeys(many, b"one"))
    log.add(1, result({"a.md": (None, b"two")}), {"a.md": b"two"})
    assert [(len(block.notes), block.left_out) for block in log.blocks] == [(MOST_NOTES, 10_000 - MOST_NOTES), (0, 1)]
    assert log.contents == {ONE: b"one"}


def test_long_paths_are_named_up_to_a_bound() -> None:
    long = {f"{number}/{'x' * 4000}.md": (None, b"one") for number in range(MOST_NOTES)}
    log = ChangeLog()
    log.add(0, result(long))
    (block,) = log.blocks
    assert len(block.notes) == MOST_NAMES // 4006
    assert len(block.notes) + block.left_out == MOST_NOTES


# --- in the journal


async def finish(run_dir: Path, *blocks: Mapping[str, tuple[bytes | None, bytes | None]]) -> None:
    """A job that is done, whose blocks have changed notes."""
    async with open_journal(run_dir) as open_one:
        await open_one.begin("a", "digest")
        log = ChangeLog()
        for number, block in enumerate(blocks):
            log.add(number, result(block), {path: after for path, (_, after) in block.items() if after is not None})
        await open_one.finish("a", "done", DONE, changes=log)


async def test_what_a_job_changed_is_there_when_it_is_done(tmp_path: Path) -> None:
    odd = "\N{EURO SIGN} \x00 \U0001f600\r\n".encode()
    await finish(tmp_path, {"a.md": (None, b"one")}, {"a.md": (b"one", odd), "\udcff.png": (b"\xff\x00", None)})
    (found,) = kept(tmp_path)
    assert found == KeptAttempt(
        attempt=1,
        blocks=(
            ChangingBlock(0, (ChangedNote("a.md", None, ONE),)),
            ChangingBlock(
                1, (ChangedNote("a.md", ONE, version_of(odd)), ChangedNote("\udcff.png", version_of(b"\xff\x00"), None))
            ),
        ),
        contents={ONE: b"one", version_of(odd): odd, version_of(b"\xff\x00"): b"\xff\x00"},
        events=[],
    )


async def test_as_much_as_there_is_room_for_is_read_back(tmp_path: Path) -> None:
    """In JSON a control character is six."""
    name, content = "\x01" * (MOST_NAMES // MOST_NOTES - 3), b"\x01" * (MOST_BYTES // MOST_NOTES - 3)
    written = {f"{number:03}{name}": content + b"%03d" % number for number in range(MOST_NOTES)}
    async with open_journal(tmp_path) as open_one:
        record = await open_one.begin("a", "digest")
        log = record.changes
        log.add(0, result({path: (None, data) for path, data in written.items()}), written)
        text = "\x01" * (MOST_BYTES // 12 - 10)
        await open_one.add_event(record, 0, WorkEvent({"a": text, "b": text}))
        await open_one.finish("a", "failed", {"error": {"type": "\x01" * 5000, "message": "\x01" * 5000}}, changes=log)
        await open_one.begin("a", "digest")
    (found,) = kept(tmp_path)
    assert len(found.contents) == len(found.blocks[0].notes) == MOST_NOTES
    assert (len(found.events), found.left_out) == (1, 0)


async def test_a_run_that_changes_nothing_has_no_such_table(tmp_path: Path) -> None:
    await finish(tmp_path)
    async with open_journal(tmp_path) as again:
        await again.begin("b", "digest")
        await again.finish("b", "failed", failed_outcome(0))
    with closing(journal(tmp_path)) as connection:
        assert not has_kept(connection.cursor())
    assert kept(tmp_path) == []


async def test_of_an_attempt_that_failed_is_kept_what_was_said_and_why(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as open_one:
        first = await open_one.begin("a", "digest")
        await open_one.add_event(first, 0, answer("create_file('a.md', 'one')"))
        await open_one.add_event(first, 1, result({"a.md": (None, b"one")}))
        await open_one.add_event(first, 2, answer("delete_file('a.md')"))
        await open_one.add_event(first, 3, result({"a.md": (b"one", None)}))
        await open_one.finish("a", "failed", failed_outcome(0))
        second = await open_one.begin("a", "digest")
        assert [type(event) for event in second.former] == [ResultEvent] * 2  # they are yet to be taken back
        await open_one.forget_former(second)
        log = ChangeLog()
        log.add(0, result({"b.md": (None, b"two")}), {"b.md": b"two"})
        await open_one.finish("a", "done", DONE, changes=log)
    before, now = kept(tmp_path)
    assert [(entry.attempt, entry.n) for entry in before.events] == [(1, 0), (1, 1), (1, 2), (1, 3)]
    assert before.events[0].event == answer("create_file('a.md', 'one')")
    assert before.error == {"type": "ModelStatusError", "message": "the server said 429 to 0"}
    assert before.blocks == (
        ChangingBlock(0, (ChangedNote("a.md", None, ONE),)),
        ChangingBlock(1, (ChangedNote("a.md", ONE, None),)),
    )
    assert before.contents == {ONE: b"one"}
    assert (now.attempt, now.contents, now.events, now.error) == (2, {TWO: b"two"}, [], None)


async def test_of_an_attempt_without_a_reply_the_conversation_is_kept_with_its_changes(tmp_path: Path) -> None:
    """The next one finds nothing to roll back, as before."""
    await finish(tmp_path, {"a.md": (None, b"one")})
    async with open_journal(tmp_path) as open_one:
        again = await open_one.begin("a", "digest")
        assert again.former == ()
    (found,) = kept(tmp_path)
    assert found.messages == tuple(DONE["messages"])
    assert (found.contents, found.error, found.left_out) == ({ONE: b"one"}, None, 0)


async def test_an_attempt_is_kept_up_to_a_bound_and_so_are_their_number(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as open_one:
        for _ in range(MOST_ATTEMPTS + 5):
            record = await open_one.begin("a", "digest")
            for n in range(4):
                await open_one.add_event(record, n, WorkEvent({"text": "x" * (MOST_BYTES // 3)}))
            await open_one.finish("a", "failed", {"error": {"type": "E", "message": "m" * 100_000}})
        await open_one.begin("a", "digest")
    found = kept(tmp_path)
    assert [each.attempt for each in found] == list(range(6, MOST_ATTEMPTS + 6))
    assert {(len(each.events), each.left_out) for each in found} == {(2, 2)}
    assert found[0].error is not None and len(found[0].error["message"]) == 2_000


async def test_what_is_dropped_is_not_in_the_file_any_more(tmp_path: Path) -> None:
    secret = os.urandom(32).hex().encode()
    async with open_journal(tmp_path) as open_one:
        for _ in range(2):
            record = await open_one.begin("a", "digest")
            await open_one.add_event(record, 0, result({"a.md": (secret, b"one")}))
            await open_one.finish("a", "failed", failed_outcome(0))
            await open_one.forget_former(await open_one.begin("a", "digest"))
        await open_one.finish("a", "failed", failed_outcome(0))
    with closing(journal(tmp_path)) as connection:
        packed = [bytes(body) for (body,) in connection.execute("SELECT body FROM kept")]
    assert any(secret in zlib.decompress(body) for body in packed)
    drop_failed(tmp_path)
    assert kept(tmp_path) == []
    data = b"".join(path.read_bytes() for path in tmp_path.glob(f"{FILE_NAME}*"))
    assert not any(body in data for body in packed)


async def test_shards_are_copied_with_their_own_numbers(tmp_path: Path) -> None:
    for name, content in (("one", b"one"), ("two", b"two"), ("none", None)):
        await finish(tmp_path / name, *([{"a.md": (None, content)}] if content else []))
    await finish(tmp_path / "all")
    with closing(journal(tmp_path / "all")) as connection:
        for offset, name in ((10, "one"), (20, "two"), (30, "none")):
            connection.execute("ATTACH ? AS shard", (str(tmp_path / name / FILE_NAME),))
            copy_kept(connection.cursor(), "shard", offset)
            connection.commit()
            connection.execute("DETACH shard")
        assert [row[:2] for row in connection.execute("SELECT * FROM kept ORDER BY seq")] == [(11, 1), (21, 1)]


def damage(body: object) -> bytes:
    return zlib.compress(body if isinstance(body, bytes) else repr(body).replace("'", '"').encode())


@pytest.mark.parametrize(
    "body",
    [
        None,
        5,
        "text",
        b"",
        b"no zlib",
        damage({"contents": {}})[:-3],
        damage(b"\xff"),
        damage([1]),
        damage({"other": 1}),
        damage({"blocks": [{"answer": "0", "notes": []}]}),
        damage({"contents": {"v": {"base64": "!"}}}),
        damage({"events": [[1]]}),
        damage({"events": [[0, "answer", *[5] * 10]]}),
        damage(b"[" * 100_000),
        zlib.compress(b" " * 20_000_000),
        damage(b'{"messages": [' + b"[]," * 300_000 + b'[]], "other": 1}'),
    ],
    ids=lambda body: repr(body)[:30],
)
async def test_a_damaged_row_is_named_and_stops_no_run(body: object, tmp_path: Path) -> None:
    await finish(tmp_path, {"a.md": (None, b"one")})
    with closing(journal(tmp_path)) as connection:
        if body is None:  # which the table refuses
            connection.execute("DROP TABLE kept")
            connection.execute("CREATE TABLE kept (seq, attempt, body, PRIMARY KEY (seq, attempt)) WITHOUT ROWID")
            connection.execute("INSERT INTO kept VALUES (1, 1, NULL)")
        connection.execute("UPDATE kept SET body = ?", (body,))
        connection.commit()
    with RunBrowser(tmp_path) as browser, pytest.raises(JournalError, match=r"kept\[1\]"):
        browser.job("a")
    async with open_journal(tmp_path) as open_one:
        await open_one.begin("a", "digest")
        await open_one.finish("a", "done", DONE)
    (found,) = kept(tmp_path)
    assert found.messages == tuple(DONE["messages"])
