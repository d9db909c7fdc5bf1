"""``trioagent memory log | diff | show --at | blame | restore | undo | forget``: the history of the notes."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from .._errors import InvalidInputError
from ..memory import HistorySetting, Memory, Revision, Vault
from ._interrupts import run_interruptible
from ._model_options import FolderType, debug_option, given_folder
from ._terminal import one_line, safe

T = TypeVar("T")
_SHORT_ID = 10


def history_command(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments of a command on the history of a folder of notes: ``folder`` and ``history``."""
    command = click.option(
        "--history",
        metavar="DIR",
        type=FolderType(file_okay=False, path_type=Path),
        help="Where the history is, if not in .trioagent/history in the folder of notes.",
    )(command)
    return click.argument("folder", metavar="DIR", callback=given_folder)(debug_option(command))


def on_memory(folder: Path, history: Path | None, work: Callable[[Memory], Awaitable[T]]) -> T:
    """The result of *work* for the memory in *folder*."""
    setting: HistorySetting = True if history is None else history
    memory = Memory(folder, history=setting)
    return run_interruptible(lambda interrupts: work(memory))


def note_path(folder: Path, note: str) -> str:
    """The path of a NOTE: as given, or the present target of a link with this text."""
    if folder.joinpath(note).exists():
        return note.strip("/")
    try:
        return Vault(folder).note(note)
    except InvalidInputError:  # a note that no longer exists
        return note


@click.command()
@history_command
@click.argument("note", required=False)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="The most revisions to show.")
@click.option("--chat", metavar="ID", help="Only the commits of one conversation.")
@click.option("--job", metavar="ID", help="Only the commits of one job.")
@click.option("--batch", metavar="ID", help="Only the commits of one batch.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each revision.")
def log(
    folder: Path,
    history: Path | None,
    note: str | None,
    limit: int,
    chat: str | None,
    job: str | None,
    batch: str | None,
    as_json: bool,
) -> None:
    """What changed the notes, or one NOTE, newest first."""
    path = None if note is None else note_path(folder, note)
    revisions = on_memory(
        folder, history, lambda memory: memory.log(path, limit=limit, chat=chat, job=job, batch=batch)
    )
    for revision in revisions:
        click.echo(json.dumps(attrs.asdict(revision)) if as_json else _described(revision))
    if not revisions:
        click.echo("no history is kept of these notes" if path is None else f"no history of {one_line(path)}", err=True)


@click.command()
@history_command
@click.argument("note", required=False)
@click.option("--since", metavar="REVISION", help="The older one; by default the one before the other.")
@click.option("--at", metavar="REVISION", help="The newer one; by default the newest.")
def diff(folder: Path, history: Path | None, note: str | None, since: str | None, at: str | None) -> None:
    """The difference between two revisions, of all notes or of one NOTE; by default the newest change.

    A REVISION is the beginning of an id (see `trioagent memory log`) or a time such as 2026-08-01T12:00.
    """
    path = None if note is None else note_path(folder, note)
    found = on_memory(folder, history, lambda memory: memory.diff(path, since=since, at=at))
    click.echo(safe(found.text), nl=False)
    if found.truncated:
        click.echo("the rest is not shown; name one note", err=True)


@click.command()
@history_command
@click.argument("note")
@click.option("--at", metavar="REVISION", help="The note in that revision.")
def blame(folder: Path, history: Path | None, note: str, at: str | None) -> None:
    """Who last changed each line of a NOTE."""
    path = note_path(folder, note)
    lines = on_memory(folder, history, lambda memory: memory.blame(path, at=at))
    width = min(max((len(line.author) for line in lines), default=0), 24)
    for line in lines:
        author = one_line(line.author)[:width].ljust(width)
        click.echo(f"{line.revision[:_SHORT_ID]} {author} {_moment(line.time)}  {safe(line.text)}")


@click.command()
@history_command
@click.argument("note")
@click.option("--at", metavar="REVISION", required=True, help="The revision to take the note from.")
def restore(folder: Path, history: Path | None, note: str, at: str) -> None:
    """Restore a NOTE to a REVISION. That is a change of its own, and can be undone like others."""
    path = note_path(folder, note)
    changed = on_memory(folder, history, lambda memory: memory.restore(path, at=at))
    click.echo(one_line(f"restored {path}" if changed else f"{path} is the same already"))


@click.command()
@history_command
@click.option("--chat", metavar="ID", help="The conversation to undo.")
@click.option("--turn", metavar="N", type=click.IntRange(1), help="Only this message of it.")
@click.option("--job", metavar="ID", help="The job to undo.")
@click.option("--batch", metavar="ID", help="The batch to undo.")
def undo(
    folder: Path, history: Path | None, chat: str | None, turn: int | None, job: str | None, batch: str | None
) -> None:
    """Undo the changes of one conversation, one message of it, one job or one batch.

    If somebody else has changed one of these notes since, nothing is changed, and the notes are named.
    """
    done = on_memory(folder, history, lambda memory: memory.undo(chat=chat, turn=turn, job=job, batch=batch))
    commits = f"{done.revisions} commit{'s' if done.revisions != 1 else ''}"
    words = f"took back {commits}: {', '.join(done.paths)}"
    click.echo(one_line(words if done.changed else f"{commits} had already been undone"))


@click.command()
@history_command
@click.argument("path")
def forget(folder: Path, history: Path | None, path: str) -> None:
    """Remove a note, or a folder of notes, from the history permanently.

    The past contents of the note at PATH, and the messages that led to them, cannot be restored. The note itself stays.
    """
    done = on_memory(folder, history, lambda memory: memory.forget(path.strip("/")))
    if done.paths:
        click.echo(one_line(f"forgot {', '.join(done.paths)}, changed by {done.revisions} commits"))
    else:
        click.echo(f"the history has nothing of {one_line(path)}", err=True)


COMMANDS = (log, diff, blame, restore, undo, forget)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _described(revision: Revision) -> str:
    names = [f"{name} {getattr(revision, name)}" for name in ("batch", "job", "chat") if getattr(revision, name)]
    if revision.turn:
        names.append(f"turn {revision.turn}")
    head = f"{revision.id[:_SHORT_ID]}  {_moment(revision.time)}  {revision.author}"
    lines = [head + (f"  ({', '.join(names)})" if names else "")]
    if revision.said:
        lines.append(f"    {revision.said}")
    marks = {"added": "+", "changed": "~", "deleted": "-"}
    lines += [f"    {marks[change.action]} {change.path}" for change in revision.changes]
    if revision.kind == "baseline":
        older = f"; {revision.pruned} older revisions were dropped" if revision.pruned else ""
        lines.append(f"    {revision.notes} notes as they were{older}")
    if revision.left_out:
        lines.append(f"    too large to be kept: {', '.join(revision.left_out)}")
    return "\n".join("    " * line.startswith("    ") + one_line(line) for line in lines)
