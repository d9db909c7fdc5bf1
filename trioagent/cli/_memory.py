"""``trioagent memory``: look at the notes, and at their history (`_memory_history`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .._errors import InvalidInputError
from ..memory import Vault
from ..tools import NoResults, ToolError
from ._errors import FAILED
from ._memory_history import COMMANDS, history_command, note_path, on_memory
from ._model_options import debug_option, given_folder
from ._terminal import console, one_line, safe

if TYPE_CHECKING:
    from rich.console import Console

_ADVICE = re.compile(r"(?:\. |: |, )?Use (?:list_files|read_file)\(.*?\)[^.]*\.?\Z")


def _notes_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("folder", metavar="DIR", callback=given_folder)(debug_option(command))


@click.group(invoke_without_command=True)
@click.pass_context
def memory(ctx: click.Context) -> None:
    """Look at an agent's notes and at their history. Only restore, undo and forget change anything.

    \b
    Examples:
      trioagent memory tree notes
      trioagent memory show notes user.md
      trioagent memory show notes "ada#Work"
      trioagent memory links notes user.md
      trioagent memory backlinks notes ada
      trioagent memory search notes where does ada work
      trioagent memory check notes
      trioagent memory log notes
      trioagent memory diff notes user.md
      trioagent memory show notes user.md --at 2026-08-01
      trioagent memory restore notes user.md --at 1f7a051173
      trioagent memory undo notes --chat 3f2a9c01be77
      trioagent memory forget notes entities/secret.md

    A NOTE is a path such as entities/ada.md, or anything that a link may contain: ada, ada#Heading, ada#^block. Hidden
    files and symbolic links are not followed.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@memory.command()
@_notes_argument
def tree(folder: Path) -> None:
    """All notes with their sizes."""
    print_tree(console(), folder)


@memory.command()
@history_command
@click.argument("note")
@click.option("--at", metavar="REVISION", help="The note in that revision: an id's first digits (see log), or a time.")
def show(folder: Path, history: Path | None, note: str, at: str | None) -> None:
    """The text of a NOTE, or of one heading (ada#Work) or block (ada#^id) in it; or a whole note as it was."""
    if at is not None:
        path = note_path(folder, note)
        content = on_memory(folder, history, lambda memory: memory.show(path, at=at))
        if content.encoding == "utf-8":
            click.echo(safe(content.content), nl=False)
        else:
            click.echo(content.data, nl=False)
        return
    vault = Vault(folder)
    whole = vault.tools.read_file(note) if note in vault.index else vault.tools.go_to_link(note)
    text = safe(_good(whole))
    click.echo(text, nl=not text.endswith("\n"))


@memory.command()
@_notes_argument
@click.argument("note")
def links(folder: Path, note: str) -> None:
    """The targets of the links in a NOTE."""
    vault = Vault(folder)
    path = vault.note(note)
    for out in vault.links(path):
        meaning = out.problem or f"-> {out.target}"
        click.echo(one_line(f"{path}:{out.link.line}: {out} {meaning}"))


@memory.command()
@_notes_argument
@click.argument("note")
def backlinks(folder: Path, note: str) -> None:
    """The notes that link to a NOTE."""
    vault = Vault(folder)
    for path in vault.tools.backlinks(vault.note(note)):
        click.echo(one_line(path))


@memory.command()
@_notes_argument
@click.argument("query", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="The most lines to show.")
def search(folder: Path, query: tuple[str, ...], limit: int) -> None:
    """The lines that match a QUERY best, best first."""
    found = Vault(folder).tools.search(" ".join(query), limit)
    if isinstance(found, NoResults):
        raise InvalidInputError("QUERY", _plainly(found.error))
    for hit in found:
        click.echo(one_line(hit))
    if not found:
        click.echo("nothing found", err=True)


@memory.command()
@_notes_argument
def check(folder: Path) -> int:
    """Problems that an agent would meet: broken links, notes that are damaged or too large, files it cannot see.

    Exit code 1 if there are any.
    """
    vault = Vault(folder)
    number = 0
    for number, problem in enumerate(vault.problems(), 1):  # noqa: B007
        click.echo(one_line(str(problem)))
    if number:
        click.echo(f"{number} problem{'s' if number > 1 else ''}", err=True)
        return FAILED
    click.echo(f"no problems in {len(vault.sizes())} files")
    return 0


for _command in COMMANDS:
    memory.add_command(_command)


def print_tree(screen: Console, folder: Path, *, contents: bool = False) -> None:
    """Show the notes as a tree, with their sizes or their texts."""
    from rich.console import Group
    from rich.text import Text
    from rich.tree import Tree

    vault = Vault(folder)
    sizes = vault.sizes()
    files = f"{len(sizes)} file{'s' if len(sizes) != 1 else ''}"
    root = Tree(Text(f"{safe(str(folder))}  ({files}, {sum(sizes.values()):,} bytes)"))
    folders = {"": root}
    for path, size in sizes.items():
        above = ""
        for name in path.split("/")[:-1]:
            inner = f"{above}/{name}" if above else name
            if inner not in folders:
                folders[inner] = folders[above].add(Text(f"{one_line(name)}/"))
            above = inner
        label = Text(f"{one_line(path.rpartition('/')[2])}  ({size:,})")
        if contents:
            text = Text(safe(vault.tools.read_file(path)).rstrip(), style="dim")
            folders[above].add(Group(label, text))
        else:
            folders[above].add(label)
    screen.print(root)


def _good(text: str) -> str:
    """The result of a tool, unless it is an error."""
    if isinstance(text, ToolError):
        raise InvalidInputError("NOTE", _plainly(text))
    return text


def _plainly(error: str) -> str:
    """A tool's error for people: without advice that only a model can follow."""
    return _ADVICE.sub("", error.removeprefix("Error: "))
