"""What the index builder hands out is no change of the notes, and no block fails for want of an index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trioagent._exceptions import open_helper_nursery
from trioagent.sandbox import Outcome, open_sandbox
from trioagent.sandbox._collect_changes import read_pieces
from trioagent.sandbox._indexes import PIECE, Indexes, SharedIndex
from trioagent.tools import DEFAULT_RULES, RESERVED, AccessRules, is_reserved

from .indexed_search import filled, indexes, uses_index
from .kernel_tier import open_kernel
from .monty_tier import open_monty

pytestmark = pytest.mark.real

SPELLINGS = [
    ".trioagent-index-000000",
    ".trioagentx",
    ".TrioAgent-index-000000",
    ".trioagent\u200b",
    "\u200b.trioagent",
    "\uff0etrioagent",
    "\u2024trioagent-index-000000",
    ".tr\uff29oagent",
    "TRIOAG~1",
]


@pytest.mark.parametrize("tier", ["kernel", "kernel-lite"])
async def test_a_block_can_write_no_name_of_ours(tier: str, tmp_path: Path) -> None:
    async with open_sandbox(tier) as sandbox:
        for name in SPELLINGS:
            for code in (
                f"open({name!r}, 'w').write('x')",
                f"import os\nos.mkdir({name!r})\nopen({name!r} + '/a', 'w')",
            ):
                result = await sandbox.run(f"{code}\ncreate_file('a.md', 'x')", memory_path=tmp_path)
                assert "is a reserved name" in result.error and not result.saved, name
        assert os.listdir(tmp_path) == []


async def test_nor_one_in_monty(tmp_path: Path) -> None:
    async with open_monty() as (sandbox, _):
        for name in SPELLINGS:
            result = await sandbox.run(f"open({name!r}, 'w').write('x')", memory_path=tmp_path)
            assert "Permission denied" in result.error, name
        assert os.listdir(tmp_path) == []


def test_other_names_are_free() -> None:
    assert all(map(is_reserved, [RESERVED, *SPELLINGS]))
    assert not any(
        map(is_reserved, ["trioagent", "a.trioagent", ".trio", ".obsidian", "user.md", "trioag.md", "Öl.md"])
    )


async def test_what_the_memory_has_under_these_names_does_not_count(tmp_path: Path) -> None:
    """Even the very bytes that are about to be written: compared with them, the builder changes nothing."""
    memory = filled(tmp_path / "memory")
    async with open_sandbox("kernel") as sandbox:
        code = "data = search.__self__.renewed_index(0)[0]\nopen('copy.md', 'wb').write(data)"
        result = await sandbox.run(code, memory_path=memory)
        assert result.error == ""
        (memory / "copy.md").rename(memory / f"{PIECE}000000")
        for _ in range(3):
            await uses_index(sandbox, memory)
            await indexes(sandbox).idle()
        assert await uses_index(sandbox, memory) is True


class GivenIndexes(Indexes):
    """Shares what it was given last."""

    content: bytes
    given: dict[str, object]

    @contextmanager
    def share(self, root_fd: int, rules: AccessRules = DEFAULT_RULES) -> Iterator[SharedIndex]:
        file = os.memfd_create("index")
        os.write(file, self.content)
        reader = os.open(f"/proc/self/fd/{file}", os.O_RDONLY)
        try:
            yield SharedIndex(reader, self.given)
        finally:
            os.close(reader)
            os.close(file)


async def test_an_index_that_cannot_be_mapped_or_read_is_none(tmp_path: Path) -> None:
    memory = filled(tmp_path / "memory", 20)
    cases: list[tuple[bytes, dict[str, object]]] = [
        (b"", {"places": [], "changed": []}),
        (b"x" * 5000, {"nonsense": 1}),
        (b"x" * 5000, {"places": [[0, 5000]], "changed": 5}),
    ]
    async with open_kernel() as (sandbox, tier):
        tier.indexes = shared = GivenIndexes(tier.build_index, tier.limits.file_bytes)
        for shared.content, shared.given in cases:
            result = await sandbox.run("x = len(search('needle')) > 0\ny = 6 * 7", memory_path=memory)
            assert (result.error, result.locals["y"]) == ("", "42")


async def test_damaged_pieces_make_no_index(tmp_path: Path) -> None:
    """As by a bad disk, between the builder's child and the host."""

    async def damaged(code: str, root_fd: int, rules: AccessRules) -> tuple[Outcome, list[bytes]]:
        outcome, pieces = await tier.build_index(code, root_fd, rules)
        damage.append(len(pieces[0]) // 2)
        pieces[0] = pieces[0][: damage[-1]] + bytes([pieces[0][damage[-1]] ^ 1]) + pieces[0][damage[-1] + 1 :]
        return outcome, pieces

    damage: list[int] = []
    memory = filled(tmp_path / "memory")
    async with open_kernel() as (sandbox, tier), open_helper_nursery() as background:
        tier.indexes = Indexes(damaged, tier.limits.file_bytes)
        tier.use_background(background)
        for _ in range(3):
            assert await uses_index(sandbox, memory) is False
            await indexes(sandbox).idle()
    assert len(damage) == 1  # it is not tried again at once


async def test_an_index_that_was_damaged_later_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = filled(tmp_path / "memory")
    async with open_sandbox("kernel") as sandbox:
        expected = (await sandbox.run("found = search('needle')", memory_path=memory)).locals
        await indexes(sandbox).idle()
        (kept,) = indexes(sandbox)._kept.values()
        data = os.pread(kept.file, kept.size, 0)
        other = os.memfd_create("index")
        try:
            os.write(other, data[:-400] + os.urandom(400))
            sealed, kept.file = kept.file, other
            result = await sandbox.run("found = search('needle')", memory_path=memory)
            assert (result.error, result.locals) == ("", expected)
        finally:
            kept.file = sealed
            os.close(other)


async def test_changed_notes_with_names_that_grow_in_a_request(tmp_path: Path) -> None:
    memory = filled(tmp_path / "memory")
    async with open_sandbox("kernel") as sandbox:
        await uses_index(sandbox, memory)
        await indexes(sandbox).idle()
        for number in range(118):
            (memory / ("\x01" * 246 + f"{number:03}.md")).write_text("x")
        for _ in range(10):
            assert (await sandbox.run("x = 1", memory_path=memory)).error == ""


def test_pieces_are_what_was_announced(tmp_path: Path) -> None:
    (tmp_path / "p000000").write_bytes(b"abcd")
    (tmp_path / "p000001").write_bytes(b"ef")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert read_pieces(folder, "p", size=6, piece_bytes=4) == [b"abcd", b"ef"]
        for size in (5, 7):
            with pytest.raises(ValueError, match="piece 1 has 2 bytes"):
                read_pieces(folder, "p", size=size, piece_bytes=4)
        with pytest.raises(FileNotFoundError):
            read_pieces(folder, "q", size=9, piece_bytes=4)
        (tmp_path / "p000001").unlink()
        (tmp_path / "p000001").symlink_to("p000000")
        with pytest.raises(OSError, match="symbolic links"):
            read_pieces(folder, "p", size=6, piece_bytes=4)
    finally:
        os.close(folder)
