"""Lost updates between agents are refused, and nothing else is."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent._errors import MemoryConflictError, MemoryLimitError
from trioagent.memory import ChangeSet, Knowledge, _knowledge

from .support import commit_now, read_tree


def save(
    root: Path, knowledge: Knowledge, writes: dict[str, bytes], *, reads: tuple[str, ...] = (), deletes: str = ""
) -> bool:
    changes = ChangeSet(writes=writes, deletes=frozenset(filter(None, [deletes])))
    return commit_now(root, changes, knowledge=knowledge, reads=reads)


def test_overwriting_a_change_not_seen(tmp_path: Path) -> None:
    ada, bob = Knowledge(), Knowledge()
    save(tmp_path, ada, {"a.md": b"1", "b.md": b"1"})
    save(tmp_path, bob, {"a.md": b"2"}, reads=("a.md",))
    with pytest.raises(MemoryConflictError) as caught:
        save(tmp_path, ada, {"a.md": b"3", "b.md": b"3", "c.md": b"3"})
    assert caught.value.paths == ("a.md",)
    assert "read it again" in str(caught.value)
    assert read_tree(tmp_path).notes == {"a.md": b"2", "b.md": b"1"}
    save(tmp_path, ada, {}, reads=("a.md",))  # a block that only reads
    save(tmp_path, ada, {"a.md": b"3"})
    assert read_tree(tmp_path).notes["a.md"] == b"3"


def test_deleting_a_change_not_seen(tmp_path: Path) -> None:
    ada, bob = Knowledge(), Knowledge()
    save(tmp_path, ada, {"a.md": b"1"})
    save(tmp_path, bob, {"a.md": b"2"}, reads=("a.md",))
    with pytest.raises(MemoryConflictError):
        save(tmp_path, ada, {}, deletes="a.md")
    save(tmp_path, bob, {}, deletes="a.md")
    with pytest.raises(MemoryConflictError):  # Ada believes that it exists
        save(tmp_path, ada, {"a.md": b"3"})
    assert not save(tmp_path, ada, {}, deletes="a.md")  # what she wants is so already


def test_two_agents_create_the_same_note(tmp_path: Path) -> None:
    ada, bob = Knowledge(), Knowledge()
    save(tmp_path, ada, {"same.md": b"Ada's"})
    with pytest.raises(MemoryConflictError):
        save(tmp_path, bob, {"same.md": b"Bob's"})
    assert save(tmp_path, bob, {"same.md": b"Ada's"}) is False  # the same content loses nothing
    late = Knowledge()
    save(tmp_path, late, {"same.md": b"from one who began later"})
    with pytest.raises(MemoryConflictError):
        save(tmp_path, ada, {"same.md": b"again"})


def test_absence_is_seen_too(tmp_path: Path) -> None:
    ada, bob = Knowledge(), Knowledge()
    save(tmp_path, ada, {}, reads=("a.md",))
    save(tmp_path, bob, {"a.md": b"Bob's"})
    with pytest.raises(MemoryConflictError):
        save(tmp_path, ada, {"a.md": b"Ada's"})


def test_a_note_from_before_may_be_replaced_unread(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"laid down by hand")
    agent = Knowledge()
    assert save(tmp_path, agent, {"a.md": b"new"})
    assert save(tmp_path, agent, {"a.md": b"newer"})
    assert save(tmp_path, agent, {}, deletes="a.md")
    assert save(tmp_path, agent, {"a.md": b"back"})


def test_reading_and_writing_in_one_block_is_a_merge(tmp_path: Path) -> None:
    ada, bob = Knowledge(), Knowledge()
    save(tmp_path, ada, {"a.md": b"1"})
    save(tmp_path, bob, {"a.md": b"2"}, reads=("a.md",))
    assert save(tmp_path, ada, {"a.md": b"2 and 3"}, reads=("a.md",))


def test_reads_of_a_refused_block_count(tmp_path: Path) -> None:
    """The model is shown what the block read, so it may act on it; what it did not read it still may not overwrite."""
    ada, bob = Knowledge(), Knowledge()
    save(tmp_path, ada, {"a.md": b"1", "b.md": b"1"})
    save(tmp_path, bob, {"a.md": b"2", "b.md": b"2"}, reads=("a.md", "b.md"))
    with pytest.raises(MemoryConflictError) as caught:
        save(tmp_path, ada, {"b.md": b"3"}, reads=("a.md",))
    assert caught.value.paths == ("b.md",)
    assert save(tmp_path, ada, {"a.md": b"3"})
    with pytest.raises(MemoryLimitError):
        save(tmp_path, ada, {"big.md": b"x" * 2_000_000}, reads=("b.md",))
    assert save(tmp_path, ada, {"b.md": b"3"})


def test_commits_within_one_step_of_the_kernels_clock_differ(tmp_path: Path) -> None:
    """Same size, and as like as not a reused inode: only our own time stamp tells the two versions apart."""
    ada, bob = Knowledge(), Knowledge()
    save(tmp_path, bob, {"a.md": b"0"}, reads=("a.md",))
    save(tmp_path, ada, {}, reads=("a.md",))
    for number in range(200):
        save(tmp_path, bob, {"a.md": b"%d" % (number % 10)})
        save(tmp_path, bob, {"a.md": b"x"})
        with pytest.raises(MemoryConflictError):
            save(tmp_path, ada, {"a.md": b"y"})
        save(tmp_path, ada, {}, reads=("a.md",))


def test_an_edit_by_hand_is_a_change(tmp_path: Path) -> None:
    agent = Knowledge()
    save(tmp_path, agent, {"a.md": b"one"})
    (tmp_path / "a.md").write_bytes(b"two")  # in place, same size
    with pytest.raises(MemoryConflictError):
        save(tmp_path, agent, {"a.md": b"three"})


def test_paths_read_outside_are_ignored(tmp_path: Path) -> None:
    agent = Knowledge()
    save(tmp_path, agent, {}, reads=("/etc/passwd", "../x", "", "a/../b", ".trioagent/redo.json", "a\0", "none/x.md"))
    assert agent.seen == {"none/x.md": None}


def test_knowledge_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_knowledge, "MAX_PATHS", 3)
    agent, other = Knowledge(), Knowledge()
    save(tmp_path, agent, {"a.md": b"1"})
    for name in "bcd":
        save(tmp_path, agent, {f"{name}.md": b"1"})
    assert list(agent.seen) == ["b.md", "c.md", "d.md"]
    save(tmp_path, other, {"a.md": b"2"}, reads=("a.md",))
    with pytest.raises(MemoryConflictError):  # forgotten, but changed since the agent began
        save(tmp_path, agent, {"a.md": b"3"})


VERSIONS = st.none() | st.tuples(*[st.integers(0, 2**63)] * 3)


@given(began=st.integers(0, 2**63), seen=st.dictionaries(st.text(max_size=5), VERSIONS, max_size=5))
def test_json_and_back(began: int, seen: dict[str, Any]) -> None:
    knowledge = Knowledge(began, seen)
    assert Knowledge.from_json(json.loads(json.dumps(knowledge.to_json()))) == knowledge


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        {"began": "1", "seen": {}},
        {"began": True, "seen": {}},
        {"began": 1, "seen": []},
        {"began": 1, "seen": {"a": [1, 2]}},
        {"began": 1, "seen": {"a": [1, 2, "3"]}},
        {"began": 1, "seen": {"a": 7}},
    ],
)
def test_json_that_is_none(data: Any) -> None:
    with pytest.raises(ValueError, match="not an agent's knowledge"):
        Knowledge.from_json(data)


def test_knowledge_survives_json_between_turns(tmp_path: Path) -> None:
    agent = Knowledge()
    save(tmp_path, agent, {"a.md": b"1"})
    resumed = Knowledge.from_json(json.loads(json.dumps(agent.to_json())))
    assert save(tmp_path, resumed, {"a.md": b"2"})
    with pytest.raises(MemoryConflictError):
        save(tmp_path, agent, {"a.md": b"3"})


def test_a_note_with_a_time_in_the_future_can_be_replaced_once_read(tmp_path: Path) -> None:
    note = tmp_path / "a.md"
    note.write_bytes(b"from a machine whose clock is ahead")
    future = time.time_ns() + 10**12
    os.utime(note, ns=(future, future))
    agent = Knowledge()
    with pytest.raises(MemoryConflictError):
        save(tmp_path, agent, {"a.md": b"new"})
    assert save(tmp_path, agent, {"a.md": b"new"}, reads=("a.md",))
    assert note.read_bytes() == b"new"
