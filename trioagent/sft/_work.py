"""The work of a run on each persona: attempts until one is accepted, journaled, and the resulting rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from .._config import SftConfig
from .._messages import Usage
from .._model_profile import profile_for
from .._prompt import system_prompt
from .._runs import JobEnd, JobRecord, Run, WorkEvent, failure, prompt_hash
from ..models import EndpointHealth, Model
from ._attempt import Attempt, AttemptSettings, Ledger, attempt
from ._flows import instruction
from ._memories import FOLDER
from ._persona import Fact, Persona, digest
from ._persona_models import Factory, Speaker


@attrs.frozen(kw_only=True)
class PersonaJob:
    """One persona of a run.

    Attributes:
        key: names it in the journal and in the outputs.
        given, given_facts: the user's objects, for the factory.
        digest: of everything that determines its conversation.
    """

    key: str
    persona: Persona
    facts: tuple[Fact, ...]
    given: object
    given_facts: object
    digest: str
    deadline: float | None = None


class Conversations:
    """The work of a run of `generate_conversations`.

    Args:
        first: the persona models of the first attempts, made beforehand.
    """

    can_cut_waits = False  # an interrupted attempt is repeated from its beginning

    def __init__(
        self, run: Run[PersonaJob], config: SftConfig, factory: Factory, first: dict[str, Any], judge: Model | None
    ) -> None:
        self._run, self._config, self._factory, self._first = run, config, factory, first
        self._judge = None if judge is None else run.watched(judge)
        self._threads = trio.CapacityLimiter(config.max_concurrent)
        self._attempts: dict[str, list[dict[str, Any]]] = {}  # of running personas, and of those not settled yet

    async def run(self, job: PersonaJob, record: JobRecord) -> JobEnd | None:
        ended = self._attempts[job.key] = [
            dict(event.body) for event in record.events if isinstance(event, WorkEvent) and "verdicts" in event.body
        ]
        ledger = Ledger(self._run.journal, self._run.budget, record)
        settings = AttemptSettings(
            runtime=self._run.runtime,
            config=self._config,
            model=await self._run.model(),
            judge=self._judge,
            date=self._run.date_for(self._config.system_prompt),
        )
        while len(ended) <= self._config.max_retries:
            if self._run.is_stopping():
                return None

            async def make_speaker() -> Speaker:
                return await self._speaker(job)

            memory = self._run_dir / FOLDER / f"{job.key}-{len(ended) + 1}"
            record.changes.clear()  # of an attempt that was not accepted
            came_to = await attempt(settings, job.persona, job.facts, make_speaker, ledger, record.changes, memory)
            body = {
                "verdicts": [attrs.asdict(verdict) for verdict in came_to.verdicts],
                "tokens": ledger.take_used(),
                "messages": [attrs.asdict(message) for message in came_to.messages],
                "persona_model": came_to.persona_model,
            }
            ended.append(body)
            if came_to.accepted:
                earlier = [WorkEvent(rejected) for rejected in ended[:-1]]
                return JobEnd("done", self._accepted(job, came_to), earlier=earlier)
            await ledger.record(body)
        return JobEnd("failed", self._rejected(job))

    def endpoints(self, job: PersonaJob) -> Iterable[EndpointHealth]:
        judged = [] if self._judge is None or self._judge.health is None else [self._judge.health]
        return [*self._run.runtime.endpoints.healths.values(), *self._run.endpoints_of(), *judged]

    def chose_model(self, job: PersonaJob) -> bool:
        return False

    def forget(self, job: PersonaJob) -> None:
        self._attempts.pop(job.key, None)

    async def failure(self, job: PersonaJob, record: JobRecord, error: Exception) -> Mapping[str, Any]:
        described = failure(error, {}, "")["error"]
        return {**self._rejected(job), "reason": f"{described['type']}: {described['message']}", "error": described}

    @property
    def _run_dir(self) -> Path:
        return self._run.journal.path.parent

    async def _speaker(self, job: PersonaJob) -> Speaker:
        model = self._first.pop(job.key, None)
        if model is None:
            model = await self._factory.make(job.given, job.given_facts)
        config, knows = self._config, self._factory.gets_facts
        opening = None if knows else instruction(config.flow, job.facts, config.num_turns)
        return Speaker(model, self._threads, opening)

    def _accepted(self, job: PersonaJob, came_to: Attempt) -> dict[str, Any]:
        conversation = came_to.conversation
        assert conversation is not None
        provenance = self._provenance(job)
        return {
            "messages": [attrs.asdict(message) for message in came_to.messages],
            **provenance,
            "memory_before": dict(conversation.before),
            "memory_diff": conversation.diff,
        }

    def _rejected(self, job: PersonaJob) -> dict[str, Any]:
        last = (self._attempts.get(job.key) or [{}])[-1]
        wrong = [verdict for verdict in last.get("verdicts", ()) if not verdict["passed"]]
        provenance = self._provenance(job)
        return {
            "reason": "; ".join(f"{verdict['check']}: {verdict['reason']}" for verdict in wrong),
            **provenance,
            "messages": last.get("messages", []),
        }

    def _provenance(self, job: PersonaJob) -> dict[str, Any]:
        """The origin of a conversation; drops the persona's attempts."""
        from .. import __version__

        attempts = self._attempts.pop(job.key, [])
        messages = attempts[-1]["messages"] if attempts else []
        return {
            "flow": self._config.flow,
            "persona": attrs.asdict(job.persona),
            "facts": [attrs.asdict(fact) for fact in job.facts],
            "attempts": len(attempts),
            "verdicts": [body["verdicts"] for body in attempts],
            "tokens": _sum([body["tokens"] for body in attempts]),
            "hashes": {
                "persona": digest(job.persona),
                "facts": digest(*job.facts),
                "messages": digest([message for message in messages if message["role"] != "system"]),
                "prompt": prompt_hash(system_prompt(self._config.system_prompt, self._config.system_prompt_append)),
            },
            "models": {
                "agent": self._run.runtime.model.name,
                "persona": attempts[-1]["persona_model"] if attempts else "",
                "judge": None if self._judge is None else self._judge.name,
            },
            "profile": profile_for(self._run.runtime.model.name, self._config.model_profile).name,
            "trioagent": __version__,
        }


def mark(outcome: Mapping[str, Any]) -> str:
    """A key that identifies an accepted conversation: its messages."""
    return str(outcome["hashes"]["messages"])


def _sum(tokens: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    total: dict[str, Usage] = {}
    for one in tokens:
        for who, usage in one.items():
            total[who] = total.get(who, Usage()) + Usage(**usage)
    return {who: attrs.asdict(usage) for who, usage in total.items()}
