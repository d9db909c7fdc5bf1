"""The settings that a run is pinned to, because they determine its conversations, and the folder of its memories.

They are recorded at the first start that produced anything. A later start with others is refused by name, unless its
changes are accepted: otherwise one conversation could be of two models, and a journal would not match its conversation.
Settings that only determine where and how fast a run runs (address, version, sandbox tier, rates) are recorded too, and
a change is reported.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import trio

from .._config import ModelConfig, VaultPolicy
from .._errors import FatalError, InvalidInputError
from .._model_profile import DEFAULT, profile_for
from .._prompt import date_and_zone, system_prompt
from .._wire import short
from ..models import sampling_of
from ..runtime import Runtime
from ._journal import Journal
from ._reader import JournalReader

PINS, RECORDED, FOLDER, TODAY = "pins", "recorded", "folder", "today"
SHARD = "shard"
"""A pin: the part of the jobs that a run has."""
_log = logging.getLogger("trioagent")


class RunChangedError(InvalidInputError, FatalError):
    """A run directory is used with settings that would change its conversations.

    Attributes:
        run_dir: the run.
        changes: for each setting that differs its name, its value at the first start, and its value now.
    """

    def __init__(self, run_dir: str, changes: tuple[tuple[str, str, str], ...]) -> None:
        super().__init__("run directory", "was begun with other settings")
        self.args: tuple[Any, ...] = (run_dir, changes)
        self.run_dir: str = run_dir
        self.changes: tuple[tuple[str, str, str], ...] = changes

    def __str__(self) -> str:
        changes = "; ".join(f"{name} was {before} and is {now}" for name, before, now in self.changes)
        return (
            f"the run in {self.run_dir!r} was begun with other settings: {changes}; restore them, use another run "
            "directory, or accept the changes (--accept-changes, accept_changes=True)"
        )


@lru_cache(maxsize=16)
def prompt_hash(prompt: str) -> str:
    """The name of a system prompt in rows and journals."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def pins_of(
    model: str,
    config: ModelConfig | None,
    *,
    prompt: str | None,
    append: str | None,
    profile: str | None,
    policy: VaultPolicy | None = None,
    date: str = "auto",
    **others: Any,
) -> dict[str, Any]:
    """The pins of a run with these settings.

    Args:
        model, config: the run's own model: its name, and its settings if it is served over HTTP.
        prompt, append: the run's system prompt in place of the built-in one, and the text added to it.
        profile: the name of the model's profile, if it was set.
        policy: what the run's blocks may touch.
        date: the date setting; it is not part of the prompt's hash.
        others: settings of this kind of run.
    """
    resolved = profile_for(model, profile)
    hashed = prompt_hash(system_prompt(prompt, append, policy, profile=resolved))
    pins: dict[str, Any] = {"model": model, "prompt": hashed, **others}
    # None as in runs of releases without profiles and policies, which can be resumed.
    pins["profile"] = None if resolved is DEFAULT else resolved.name
    pins["date"] = None if date == "auto" else date
    pins["policy"] = (policy and policy.as_data()) or None
    if config is not None:
        pins |= sampling_of(config)
    return pins


async def pin(journal: Journal, runtime: Runtime, pins: Mapping[str, Any], *, accept: bool) -> str:
    """Record *pins*, or compare them with the recorded ones.

    Returns:
        The date for the run's conversations: that of its first start, so that they stay the same; ""
        in a run of a release without dates.

    Raises:
        RunChangedError: they differ, and the difference is not accepted.
    """
    has_outcomes = await journal.has_outcomes()
    if not accept:
        _check(str(journal.path.parent), await journal.read_meta(PINS) if has_outcomes else None, pins)
    recorded = _recorded(runtime)
    before, today = await journal.read_meta(RECORDED), await journal.read_meta(TODAY)
    if before is not None:
        for name, old, new in _changes(before, recorded):
            _log.warning("%s: %s was %s and is %s", journal.path.parent, name, old, new)
    if today is None:
        is_new = before is None and not has_outcomes
        today = {"date": date_and_zone(datetime.now().astimezone()) if is_new else ""}
    await journal.write_meta({PINS: dict(pins), RECORDED: recorded, TODAY: today})
    return str(today["date"])


def check_pins(run_dir: Path, journal: JournalReader, pins: Mapping[str, Any]) -> None:
    """Raise the error of `pin`, without recording anything.

    Raises:
        RunChangedError: the run is pinned to other settings.
    """
    _check(str(run_dir), journal.read_meta(PINS) if journal.has_outcomes() else None, pins)


def _check(run_dir: str, known: Mapping[str, Any] | None, pins: Mapping[str, Any]) -> None:
    if known is not None and (changes := _changes(known, pins)):
        raise RunChangedError(run_dir, tuple(changes))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    names = [*before, *(name for name in now if name not in before)]
    return [
        (name, short(before.get(name)), short(now.get(name))) for name in names if before.get(name) != now.get(name)
    ]


def _recorded(runtime: Runtime) -> dict[str, Any]:
    from .. import __version__

    config = runtime.config
    recorded: dict[str, Any] = {"version": __version__, "tier": runtime.sandbox.tier}
    if config is not None:
        recorded["address"] = config.base_url.partition("?")[0]  # a query may contain a key
        recorded["rate"] = attrs.asdict(config.rate)
    return recorded


async def memory_folder(journal: Journal, *, accept: bool) -> Path:
    """The folder that relative memories belong to: the current one of the run's first start.

    Raises:
        RunChangedError: it no longer exists, and the change is not accepted.
    """
    first = await journal.read_meta(FOLDER) if await journal.has_outcomes() else None
    known = await trio.to_thread.run_sync(_known_folder, journal.path.parent, first, accept)
    if known is not None:
        _log.warning("memories are relative to %s, where the run was begun", known)
        return known
    here = os.getcwd()
    await journal.write_meta({FOLDER: {"path": here}})
    return Path(here)


def check_memory_folder(run_dir: Path, journal: JournalReader) -> None:
    """Raise the error of `memory_folder`, without recording anything.

    Raises:
        RunChangedError: the folder of the run's first start no longer exists.
    """
    _known_folder(run_dir, journal.read_meta(FOLDER) if journal.has_outcomes() else None, False)


def _known_folder(run_dir: Path, first: Mapping[str, Any] | None, accept: bool) -> Path | None:
    """The folder of the first start, if it differs from the current one; None also if the change is accepted."""
    here = os.getcwd()
    if first is None or first["path"] == here:
        return None
    if Path(first["path"]).is_dir():
        return Path(first["path"])
    if accept:
        return None
    change = ("the folder of relative memories", f"{first['path']!r}, which no longer exists", repr(here))
    raise RunChangedError(str(run_dir), (change,))
