"""Error reporting: one line on stderr and an exit code; with ``--debug`` a traceback too."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

import click

from .._errors import InvalidInputError, TrioAgentError
from .._exceptions import leaves
from ._terminal import GlobalOptions, one_line

FAILED, USAGE, STOPPED, INTERRUPTED = 1, 2, 3, 130
"""Exit codes; `STOPPED` is a run that ended early and can be resumed."""


def exit_code_of(command: Callable[[], object], options: GlobalOptions) -> int:
    """Run *command*, and report its exception on stderr, if it raises one.

    A closed stdout (``| head``) is not reported: exit code 1.
    """
    try:
        code = command()
        if sys.stdout is not None:  # None if the process was started without one
            sys.stdout.flush()  # here, where a closed pipe can still be handled
    except BaseException as error:  # noqa: BLE001 - the edge of the program: everything becomes a line and a code
        return _report(error, options)
    return code if isinstance(code, int) else 0


def line_and_code(error: BaseException) -> tuple[str, int]:
    """The line that reports an error, and its exit code."""
    match error:
        case KeyboardInterrupt() | click.Abort():
            return "interrupted", INTERRUPTED
        case click.UsageError():
            return f"error: {error.format_message()}{_where_help_is(error)}", USAGE
        case click.ClickException():
            return f"error: {error.format_message()}", error.exit_code
        case InvalidInputError():
            return f"error: {error}", USAGE
        case TrioAgentError() if getattr(error, "disk_full", False) or getattr(error, "lost", False):
            return f"error: {error}", STOPPED
        case TrioAgentError():
            return f"error: {error}", FAILED
        case OSError(strerror=str(words), filename=filename) if filename is not None:
            return f"error: {os.fsdecode(filename) if isinstance(filename, bytes) else filename}: {words}", FAILED
        case OSError():
            return f"error: {error}", FAILED
    bug = f"error: unexpected {type(error).__name__}: {error}"
    return (
        f"{bug}; this is a defect of trioagent: please report it, with what the same command says with --debug",
        FAILED,
    )


def _report(error: BaseException, options: GlobalOptions) -> int:
    # click and rich raise SystemExit for a closed pipe.
    reportable = [leaf for leaf in leaves(error) if not isinstance(leaf, BrokenPipeError | SystemExit)]
    if not reportable:
        _silence_stdout()
        return FAILED
    if options.debug:
        traceback.print_exception(error)
    lines = list(dict.fromkeys(line_and_code(leaf) for leaf in reportable))
    for line, _ in lines:
        click.echo(one_line(line), err=True)
    codes = [code for _, code in lines]
    return INTERRUPTED if INTERRUPTED in codes else codes[0]


def _where_help_is(error: click.UsageError) -> str:
    return f" (see `{error.ctx.command_path} --help`)" if error.ctx is not None else ""


def _silence_stdout() -> None:
    """Redirect stdout to /dev/null, so that the interpreter's flush at exit does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
