"""Conversations as a stage of a Ray Data pipeline: `AgentStage`, for ``Dataset.map_batches``. Imports no Ray.

Each batch is a journaled run in a temporary folder, so that rates, retries and outages are handled as in any run. A
batch whose actor is lost is sent to another one by Ray, and is processed there from the start: at least once.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NoReturn, Self

from .._config import BatchConfig, ModelConfig, RateLimits, SftConfig
from .._errors import InvalidInputError
from .._network import NetworkConfig
from .._wire import short
from ..models import Model
from ..runtime import open_runtime
from ..sft import PersonaFactory
from ._stage_rows import ChatRows, SftRows
from ._stage_table import RowTable
from ._trio_thread import TrioThread

StageRows = Literal["chat", "sft"]
_WHOLE_RUNS = ("limit", "shard", "max_tokens_total", "max_cost")
_KINDS: Mapping[str, Any] = {"chat": ChatRows, "sft": SftRows}


class AgentStage:
    """Agents as a stage of a Ray Data pipeline: ``dataset.map_batches(AgentStage, fn_constructor_kwargs={...})``.

    Created in each actor, it runs Trio in a thread with one runtime and one sandbox, until the actor ends. Called with
    a batch (columns by name, as lists or arrays, or a pyarrow or pandas table), it runs all conversations of the batch
    concurrently, and returns the batch with additional columns: a pyarrow table in a Ray process, else the type that it
    was given. Rows keep their order.

    Rows of kind "chat" have ``messages``, the user's messages. The notes at the start are those in the column ``notes``
    (texts by path, or a list of ``{"path": ..., "text": ...}``; empty without it), and the notes at the end are in
    ``notes_after``: so a row's result depends only on the row and the model. With a column ``memory`` instead, the
    notes are in that folder, which every actor must be able to reach. Other columns of a jobs file (``model``,
    ``options``, ``system_prompt``, ``policy`` and so on) apply to their row. Added are ``conversation`` (``role``,
    ``content``), ``replies``, ``stop_reasons``, ``finish_reasons``, ``turns``, ``prompt_tokens``,
    ``completion_tokens``, ``prompt_hash``, ``notes_after`` and ``error``.

    Rows of kind "sft" have ``persona`` and ``facts``, as for `generate_conversations`. Added are ``accepted``,
    ``reason``, ``conversation``, ``attempts``, ``prompt_tokens``, ``completion_tokens`` (of agent, persona and judge),
    ``prompt_hash`` and ``error``.

    A row that is invalid, or whose conversation failed, has the message in ``error``, and does not stop the others.

    At least once: a running batch is known only to its actor. If that is lost, Ray sends the batch to another one,
        which
    requests all answers again; in folders of a column ``memory``, blocks then run a second time. For exactly-once runs
    use `run_batch`. Rate limits apply per actor: give each its share.

    Args:
        model: a name, a `ModelConfig` or a `Model`; a name keeps keys out of Ray's object store, since each actor reads
            its own environment.
        rows: the kind of the rows.
        config: a `BatchConfig` for "chat", an `SftConfig` for "sft"; without a limit, a shard or a budget, which apply
            to whole runs.
        rate: the rate limits of a model's server by the model's name, for each actor.
        tier: the required sandbox tier.
        network: proxies and certificate authorities; the environment is not read.
        persona_model: "sft": the name of the model that plays the personas; a script without one.
        persona_factory: "sft": creates persona models, instead of *persona_model*.

    Raises:
        InvalidInputError: a setting is invalid.
        SandboxUnavailableError: no sandbox tier works here.
    """

    def __init__(
        self,
        model: str | ModelConfig | Model,
        *,
        rows: StageRows = "chat",
        config: BatchConfig | SftConfig | None = None,
        rate: RateLimits | None = None,
        tier: str | None = None,
        network: NetworkConfig = NetworkConfig(),
        persona_model: str | None = None,
        persona_factory: PersonaFactory | None = None,
    ) -> None:
        if rows not in _KINDS:
            raise InvalidInputError("rows", f"must be {' or '.join(map(repr, _KINDS))}, not {short(rows)}")
        wanted = BatchConfig if rows == "chat" else SftConfig
        config = wanted() if config is None else config
        _check(config, wanted, rows, persona_model, persona_factory)
        self._kind = _KINDS[rows](config, persona_model, persona_factory)
        self._thread = TrioThread(partial(open_runtime, model, rate=rate, tier=tier, network=network))
        self._finalizer = weakref.finalize(self, self._thread.close)

    def __call__(self, batch: Any) -> Any:
        """The batch with the additional columns.

        Raises:
            InvalidInputError: *batch* has no columns, or lacks one that is needed; nothing was spent.
            StageStoppedError: a model's server was unavailable for longer than the configuration's patience, or refuses
                everything, or a disk is full; answers of this batch that were paid for are lost.
            StageClosedError: the stage is closed.
        """
        table = RowTable.of(batch)
        for name in self._kind.needs:
            if name not in table.columns:
                raise InvalidInputError("batch", f"has no column {name!r}, but {', '.join(table.columns) or 'none'}")
        found: list[dict[str, Any]] = self._thread.call(partial(self._kind.run, table.rows())) if table.count else []
        return table.extended({name: [row[name] for row in found] for name in self._kind.adds}, self._kind.adds)

    def __reduce__(self) -> NoReturn:
        problem = (
            "cannot be sent to an actor, which makes its own: give map_batches the class and fn_constructor_kwargs"
        )
        raise InvalidInputError("AgentStage", problem)

    def close(self) -> None:
        """Cancel all work, and end the thread and the sandbox. Further calls have no effect."""
        self._finalizer()

    def __ray_shutdown__(self) -> None:
        """Called by Ray when it ends the actor."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


def _check(
    config: BatchConfig | SftConfig,
    wanted: type[BatchConfig | SftConfig],
    rows: StageRows,
    persona_model: str | None,
    persona_factory: PersonaFactory | None,
) -> None:
    if not isinstance(config, wanted):
        raise InvalidInputError("config", f"must be of {wanted.__name__} for {rows!r} rows, not {short(config)}")
    for name in _WHOLE_RUNS:
        if getattr(config, name, None) is not None:
            raise InvalidInputError(f"config.{name}", "is of a whole run, and a stage has one batch at a time")
    if rows == "chat" and (persona_model is not None or persona_factory is not None):
        raise InvalidInputError("persona_model", "is for 'sft' rows")
    if persona_model is not None and persona_factory is not None:
        raise InvalidInputError("persona_factory", "is given beside persona_model; give one of them")
