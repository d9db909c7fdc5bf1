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

from trioagent._config import BlindOverwrite
from trioagent._errors import MemoryConflictError, MemoryLimitError, MemoryUnreadError
from trioagent.memory import ChangeSet, Knowledge, SeenNotes
from trioagent.memory._knowledge import MAX_PATHS
from trioagent.tools._version import version_of

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
    with pytest.raises(MemoryUnreadError) as caught:
        save(tmp_path, bob, {"same.md": b"Bob's"})
    assert caught.value.paths == ("same.md",) and "read_file('same.md')" in str(caught.value)
    assert save(tmp_path, bob, {"same.md": b"Ada's"}) is False  # the same content loses nothing
    careless = Knowledge(blind_overwrite="allow")
    assert save(tmp_path, careless, {"same.md": b"from one who does not look"})
    with pytest.raises(MemoryConflictError):
        save(tmp_path, ada, {"same.md": b"again"})


def test_absence_is_seen_too(tmp_path: Path) -> None:
    ada, bob = Knowledge(), Knowledge()
    save(tmp_path, ada, {}, reads=("a.md",))
    save(tmp_path, bob, {"a.md": b"Bob's"})
    with pytest.raises(MemoryConflictError):
        save(tmp_path, ada, {"a.md": b"Ada's"})


@pytest.mark.parametrize("moved", [-(10**12), 0, 10**12], ids=["an old time", "now", "a time in the future"])
def test_a_note_never_read_is_not_written_over(tmp_path: Path, moved: int) -> None:
    """Whenever it was made, and whatever the clock says of that."""
    note = tmp_path / "a.md"
    note.write_bytes(b"laid down by hand")
    moment = time.time_ns() + moved
    os.utime(note, ns=(moment, moment))
    agent = Knowledge()
    with pytest.raises(MemoryUnreadError):
        save(tmp_path, agent, {"a.md": b"new", "b.md": b"new"})
    assert read_tree(tmp_path).notes == {"a.md": b"laid down by hand"}
    assert save(tmp_path, agent, {"a.md": b"new"}, reads=("a.md",))
    assert save(tmp_path, agent, {"a.md": b"newer"})
    assert save(tmp_path, agent, {}, deletes="a.md")
    assert save(tmp_path, agent, {"a.md": b"back"})


def test_it_may_be_deleted(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"laid down by hand")
    assert save(tmp_path, Knowledge(), {}, deletes="a.md")


def test_blind_overwrites_can_be_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"laid down by hand")
    agent = Knowledge(blind_overwrite="allow")
    assert save(tmp_path, agent, {"a.md": b"new"})
    with pytest.raises(ValueError, match="blind_overwrite"):
        Knowledge(blind_overwrite="sometimes")  # type: ignore[arg-type]


OLD, NEW = version_of(b"old"), version_of(b"saved by an editor meanwhile")


@pytest.mark.parametrize("policy", ["refuse", "allow"])
@pytest.mark.parametrize(
    "seen",
    [
        SeenNotes(reads={"a.md": OLD}),
        SeenNotes(replaced={"a.md": OLD}),
        SeenNotes(reads={"a.md": None}),
        SeenNotes(replaced={"a.md": None}),
    ],
    ids=["read", "written over", "looked for in vain", "made where nothing was"],
)
@pytest.mark.parametrize("deletes", [True, False])
def test_what_was_saved_while_the_block_ran_stays(
    tmp_path: Path, seen: SeenNotes, policy: BlindOverwrite, deletes: bool
) -> None:
    """The block saw one version; there is another one when its changes are to be committed."""
    (tmp_path / "a.md").write_bytes(b"saved by an editor meanwhile")
    agent = Knowledge(blind_overwrite=policy)
    changes = ChangeSet(deletes=frozenset({"a.md"})) if deletes else ChangeSet(writes={"a.md": b"the block's"})
    with pytest.raises(MemoryConflictError) as caught:
        commit_now(tmp_path, changes, knowledge=agent, seen=seen)
    assert caught.value.paths == ("a.md",)
    assert read_tree(tmp_path).notes == {"a.md": b"saved by an editor meanwhile"}
    now = SeenNotes(reads={"a.md": NEW})
    assert commit_now(tmp_path, changes, knowledge=agent, seen=now)


def test_what_a_removed_folder_got_meanwhile_stays(tmp_path: Path) -> None:
    """The block removed a folder with all that it saw in it; somebody has put another note there since."""
    (tmp_path / "old").mkdir()
    for name in ("a.md", "by hand.md"):
        (tmp_path / "old" / name).write_bytes(b"old")
    gone = ChangeSet(deletes=frozenset({"old/a.md", "old/by hand.md"}), removed_dirs=frozenset({"old"}))
    seen = SeenNotes(replaced={"old/a.md": OLD}, complete=True)
    with pytest.raises(MemoryConflictError) as caught:
        commit_now(tmp_path, gone, knowledge=Knowledge(), seen=seen)
    assert caught.value.paths == ("old/by hand.md",)
    assert len(read_tree(tmp_path).notes) == 2


def test_a_write_over_something_else_than_what_the_block_saw_first(tmp_path: Path) -> None:
    """A block that reads what it wrote itself has not read the memory's note."""
    (tmp_path / "a.md").write_bytes(b"old")
    agent = Knowledge()
    with pytest.raises(MemoryUnreadError):
        commit_now(
            tmp_path, ChangeSet(writes={"a.md": b"new"}), knowledge=agent, seen=SeenNotes(replaced={"a.md": OLD})
        )
    assert "a.md" not in agent.seen


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
    """Same size and time, and as like as not a reused inode: the content tells the two versions apart."""
    ada, bob = Knowledge(), Knowledge()
    save(tmp_path, bob, {"a.md": b"0"}, reads=("a.md",))
    save(tmp_path, ada, {}, reads=("a.md",))
    for number in range(200):
        save(tmp_path, bob, {"a.md": b"%d" % ((number + 1) % 2)})
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


def test_knowledge_is_bounded(tmp_path: Path) -> None:
    agent, other = Knowledge(), Knowledge()
    save(tmp_path, agent, {"a.md": b"1"})
    for number in range(MAX_PATHS - 2):
        agent.saw(f"{number}.md", None)
    for name in "bcd":
        save(tmp_path, agent, {f"{name}.md": b"1"})
    assert len(agent.seen) == MAX_PATHS
    assert not {"a.md", "0.md"} & agent.seen.keys() and list(agent.seen)[-3:] == ["b.md", "c.md", "d.md"]
    save(tmp_path, other, {"a.md": b"2"}, reads=("a.md",))
    with pytest.raises(MemoryUnreadError):  # forgotten, so it counts as never read
        save(tmp_path, agent, {"a.md": b"3"})


@given(seen=st.dictionaries(st.text(max_size=5), st.none() | st.binary().map(version_of), max_size=5))
def test_json_and_back(seen: dict[str, str | None]) -> None:
    knowledge = Knowledge(seen)
    assert Knowledge.from_json(json.loads(json.dumps(knowledge.to_json()))) == knowledge


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        {"seen": {}},
        {"seen": {}, "blind_overwrite": "sometimes"},
        {"seen": [], "blind_overwrite": "refuse"},
        {"seen": {"a": 7}, "blind_overwrite": "refuse"},
        {"seen": {"a": [1, 2, 3]}, "blind_overwrite": "refuse"},
        {"began": 1, "seen": []},
        {"began": 1, "seen": {"a": [1, 2]}},
        {"began": 1, "seen": {"a": [1, 2, "3"]}},
        {"began": 1, "seen": {"a": 7}},
    ],
)
def test_json_that_is_none(data: Any) -> None:
    with pytest.raises(ValueError, match="not an agent's knowledge"):
        Knowledge.from_json(data)


def test_what_0_1_wrote_is_read(tmp_path: Path) -> None:
    """Its versions are no hashes: what it had read counts as unread, and agents may write over it, as they could."""
    known = Knowledge.from_json({"began": 1, "seen": {"read.md": [7, 8, 9], "absent.md": None}})
    assert known == Knowledge({"absent.md": None}, blind_overwrite="allow")
    (tmp_path / "absent.md").write_bytes(b"made since")
    with pytest.raises(MemoryConflictError):
        save(tmp_path, known, {"absent.md": b"x"})


def test_knowledge_survives_json_between_turns(tmp_path: Path) -> None:
    agent = Knowledge()
    save(tmp_path, agent, {"a.md": b"1"})
    resumed = Knowledge.from_json(json.loads(json.dumps(agent.to_json())))
    assert save(tmp_path, resumed, {"a.md": b"2"})
    with pytest.raises(MemoryConflictError):
        save(tmp_path, agent, {"a.md": b"3"})


def test_knowledge_is_bounded_in_characters() -> None:
    """Also what it is made from, and whatever was seen again or forgotten meanwhile."""
    knowledge = Knowledge(seen={"old.md": "v"})
    path = "x" * 9_990
    for number in range(500):
        knowledge.saw(f"{path}{number:03}", "version")
        knowledge.saw(f"{path}{number:03}", None)
    size = sum(len(path) + len(version or "") for path, version in knowledge.seen.items())
    assert 2_000_000 - 10_000 < size <= 2_000_000
    assert "old.md" not in knowledge.seen
    assert list(knowledge.seen)[-1] == f"{path}499"
    assert Knowledge.from_json(knowledge.to_json()) == knowledge
