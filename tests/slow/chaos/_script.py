"""What is said and done in a chaos run: a pure function of seed and job, so that what must come out is known.

Every block appends a line of its own to ``log.md``, which is not idempotent: a block that is lost or runs twice shows.
Besides that it creates, replaces or rewrites a note of its job. Some answers are cut by the token limit in the middle
of a block, and some begin without ``<think>`` and consider a block and a reply in their thoughts: were any of that
taken for what the model wants, the log would have a line of nobody.
"""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path

import attrs

from trioagent._turn import CUT
from trioagent.batch import Job

SYSTEM_PROMPT = "You are being tested."
LOG = "log.md"
KINDS = ("create", "replace", "rewrite")
# Jobs that are meant to fail, at their third answer, and the error that must come out.
PERMANENT = {
    "refused": "ModelStatusError",
    "broken": "ModelStatusError",
    "nonsense": "ModelProtocolError",
    "silent": "DeadlineExceededError",
}
FAILS_AT = 2
_PERMANENT_SHARE = 0.04
_CUT_SHARE, _SWALLOWED_SHARE = 0.06, 0.1  # of answers
COMPLETION_TOKENS = 3  # of every answer, by the server's account
_SPOIL = f"<python>\nwith open({LOG!r}, 'a') as file:\n    file.write('spoilt by {{mark}}\\n')\n"
_SHARED_BY = 10  # jobs at once to one shared memory, more or less


@attrs.frozen
class Block:
    """One block of a job: its mark in the log, and what it does besides."""

    number: int
    mark: str
    kind: str
    swallowed: bool = False

    @property
    def path(self) -> str:
        """The note that it writes."""
        return f"made/{self.mark}.md" if self.kind == "create" else f"{self.kind}-{self.number}.md"

    @property
    def code(self) -> str:
        lines = [f"with open({LOG!r}, 'a') as file:", f"    file.write('{self.mark}\\n')", "del file"]
        match self.kind:
            case "create":
                lines.append(f"create_file({self.path!r}, 'made by {self.mark}\\n')")
            case "replace":
                lines.append(f"create_file({self.path!r}, 'last was {self.mark}\\n')")
            case "rewrite":
                lines += [
                    f"before = read_file({self.path!r}) if check_if_file_exists({self.path!r}) else ''",
                    f"create_file({self.path!r}, before + '{self.mark}\\n')",
                    "del before",
                ]
        return "\n".join([*lines, f"saved = '{self.mark}'"])

    @property
    def result(self) -> str:
        """What the agent is told when it has run."""
        return f"<result>\n({{'saved': '{self.mark}'}}, '')\n</result>"

    def apply(self, notes: dict[str, str]) -> None:
        """Do to *notes* (path to text) what the block does, but for the log."""
        match self.kind:
            case "create":
                notes[self.path] = f"made by {self.mark}\n"
            case "replace":
                notes[self.path] = f"last was {self.mark}\n"
            case "rewrite":
                notes[self.path] = notes.get(self.path, "") + f"{self.mark}\n"


@attrs.frozen
class Reply:
    """The answer that ends a message."""

    mark: str
    swallowed: bool = False


@attrs.frozen
class Cut:
    """An answer that the token limit cuts in the middle of its block, which must not run."""

    mark: str

    @property
    def result(self) -> str:
        """What the agent is told of it."""
        return CUT.format(tokens=COMPLETION_TOKENS)


Turn = Block | Cut | Reply


@lru_cache(maxsize=256)
def turns(seed: int, number: int) -> tuple[tuple[Turn, ...], ...]:
    """The model's answers in one job, message by message: one or two blocks and a reply for each of 2 or 3 messages."""
    chance = random.Random(f"{seed} job {number}")
    found: list[tuple[Turn, ...]] = []
    for message in range(chance.randint(2, 3)):
        answers: list[Turn] = []
        for block in range(chance.randint(1, 2)):
            mark = f"{number}.{message}.{block}"
            if chance.random() < _CUT_SHARE:
                answers.append(Cut(mark))
            answers.append(Block(number, mark, chance.choice(KINDS), chance.random() < _SWALLOWED_SHARE))
        found.append((*answers, Reply(f"{number}.{message}", chance.random() < _SWALLOWED_SHARE)))
    return tuple(found)


def blocks(seed: int, number: int) -> list[Block]:
    """All blocks of a job, in order."""
    return [turn for message in turns(seed, number) for turn in message if isinstance(turn, Block)]


def permanent(seed: int, number: int) -> str:
    """How the job is meant to fail; "" if it is meant to get through."""
    chance = random.Random(f"{seed} fails {number}")
    return chance.choice(list(PERMANENT)) if chance.random() < _PERMANENT_SHARE else ""


def text(turn: Turn) -> str:
    """What the model says."""
    spoil = _SPOIL.format(mark=turn.mark)
    if isinstance(turn, Cut):
        return f"<think>{turn.mark} is due.</think>\n{spoil}"
    begin = f"Shall it be\n{spoil}</python>\nor <reply>nothing</reply>? No: " if turn.swallowed else "<think>"
    if isinstance(turn, Block):
        return f"{begin}{turn.mark} is due.</think>\n<python>\n{turn.code}\n</python>"
    return f"{begin}All saved.</think>\n<python></python>\n<reply>{turn.mark} is done.</reply>"


def job(seed: int, number: int, memories: Path, *, agents: int, patience: float) -> Job:
    """One job: the even ones have a memory of their own, the odd ones share some."""
    shared = f"shared-{number // 2 % max(1, agents // _SHARED_BY)}"
    return Job(
        id=f"job-{number}",
        memory=str(memories / (f"own-{number}" if number % 2 == 0 else shared)),
        messages=[user(number, message) for message in range(len(turns(seed, number)))],
        system_prompt=SYSTEM_PROMPT,
        # Whoever is never answered runs into its deadline before its user loses patience with the exchange.
        deadline=patience / 2 if permanent(seed, number) == "silent" else None,
        metadata={"number": number},
    )


def user(number: int, message: int) -> str:
    return f"Job {number}, message {message}."


@lru_cache(maxsize=256)
def conversation(seed: int, number: int) -> tuple[tuple[str, str], ...]:
    """``(role, content)`` of all messages of a job that got through."""
    said = [("system", SYSTEM_PROMPT)]
    for message, answers in enumerate(turns(seed, number)):
        said.append(("user", user(number, message)))
        for turn in answers:
            said.append(("assistant", text(turn)))
            if not isinstance(turn, Reply):
                said.append(("tool", turn.result))
    return tuple(said)
