"""The result of a run, persona by persona."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import attrs

from .._runs import BatchReport, outcomes_of
from ._work import mark


@attrs.frozen(kw_only=True)
class PersonaResult:
    """The result of one persona.

    Attributes:
        id: names it in the outputs.
        state: "accepted", "rejected", or "left" (not ended; it is resumed when the same call is made again).
        attempts: that ended, in all starts.
        reason: why the last attempt was rejected, or "".
        failed_checks: over all attempts, how often each check failed.
        duplicate_of: the id of the persona whose row has the same messages; "" if this one has a row itself.
    """

    id: str
    state: Literal["accepted", "rejected", "left"]
    attempts: int = 0
    reason: str = ""
    failed_checks: Mapping[str, int] = attrs.field(factory=dict)
    duplicate_of: str = ""


@attrs.frozen(kw_only=True)
class SftReport:
    """The result of a run.

    Attributes:
        personas: one for each, in order.
        tokens: by "agent", "persona" and "judge", of all personas that ended.
        run: counts, spending and why the run ended, as of a batch: ``done`` means accepted, ``failed`` rejected.
        conversations, rejected_file: the outputs.
    """

    personas: tuple[PersonaResult, ...]
    tokens: Mapping[str, int]
    run: BatchReport
    conversations: str
    rejected_file: str

    @property
    def results(self) -> list[bool]:
        """Whether each persona's conversation was accepted, in order."""
        return [persona.state == "accepted" for persona in self.personas]

    @property
    def accepted(self) -> int:
        return sum(self.results)

    @property
    def rejected(self) -> int:
        return sum(persona.state == "rejected" for persona in self.personas)

    @property
    def left(self) -> int:
        return sum(persona.state == "left" for persona in self.personas)

    @property
    def duplicates(self) -> int:
        """Accepted conversations that have no row, since another one has the same messages."""
        return sum(bool(persona.duplicate_of) for persona in self.personas)

    @property
    def success_rate(self) -> float:
        """The share of accepted ones among all personas."""
        return self.accepted / len(self.personas)


def make_report(ids: Sequence[str], run: BatchReport, conversations: Path, rejected: Path) -> SftReport:
    """Read the journal of a run. Synchronous; for a worker thread."""
    found: dict[str, PersonaResult] = {}
    tokens: Counter[str] = Counter()
    first: dict[str, str] = {}
    wanted = set(ids)
    for state, words in (("done", "accepted"), ("failed", "rejected")):
        for job_id, _, outcome in outcomes_of(Path(run.run_dir), state):  # type: ignore[arg-type]
            twin = first.setdefault(mark(outcome), job_id) if state == "done" else job_id
            if job_id not in wanted:
                continue
            for who, usage in outcome["tokens"].items():
                tokens[who] += usage["prompt_tokens"] + usage["completion_tokens"]
            found[job_id] = PersonaResult(
                id=job_id,
                state=words,  # type: ignore[arg-type]
                attempts=outcome["attempts"],
                reason=outcome.get("reason", ""),
                failed_checks=_failed(outcome["verdicts"]),
                duplicate_of="" if twin == job_id else twin,
            )
    return SftReport(
        personas=tuple(found.get(job_id) or PersonaResult(id=job_id, state="left") for job_id in ids),
        tokens=dict(tokens),
        run=run,
        conversations=str(conversations),
        rejected_file=str(rejected),
    )


def _failed(verdicts: Sequence[Sequence[Mapping[str, object]]]) -> dict[str, int]:
    return dict(Counter(str(one["check"]) for attempt in verdicts for one in attempt if not one["passed"]))
