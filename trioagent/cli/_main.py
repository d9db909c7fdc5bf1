"""The ``trioagent`` command and its sub-commands."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ._batch import batch
from ._chat import chat
from ._ctl import ctl
from ._doctor import doctor
from ._errors import exit_code_of
from ._eval import evaluate
from ._export import export
from ._mcp import mcp
from ._memory import memory
from ._model_options import debug_option
from ._prompt import prompt
from ._run import run
from ._serve import serve
from ._sft import sft
from ._terminal import GlobalOptions, prepare_streams
from ._view import view


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trioagent", message="trioagent %(version)s")
@debug_option
@click.pass_context
def trioagent(ctx: click.Context) -> None:
    """Chat with agents that keep their own notes.

    An agent is a language model with a memory: a folder of linked markdown notes that it reads and writes with code.
    The code runs in a sandbox that sees only that folder; the changes of one block of code are saved as a whole or not
    at all.

    \b
    Start here:
      trioagent doctor                                   what works on this machine
      trioagent chat --memory notes                      chat; the notes are kept in ./notes
      trioagent run "I moved to Berlin." --memory notes  one message, the reply on stdout
      trioagent memory tree notes                        what the agent has written down
      trioagent batch jobs.jsonl --run-dir runs/july     many jobs; run it again to resume
      trioagent ctl runs/july pause                      control a running run
      trioagent sft generate --help                      training conversations with personas
      trioagent eval list                                how good a memory is
      trioagent serve memories                           over HTTP, for other programs and a page
      trioagent view runs/july                           a run, or --memory notes, in the browser
      trioagent mcp --memory notes                       for a program that speaks MCP

    \b
    Which model answers (see `trioagent chat --help`):
      --model NAME, else the --profile of trioagent/trioagent.toml in ~/.config, else the
      environment: TRIOAGENT_MODEL (with TRIOAGENT_BASE_URL and TRIOAGENT_API_KEY), else
      OPENROUTER_API_KEY, else VLLM_HOST or VLLM_PORT, else offline-rules, which needs no setup
      and is not a language model (batch and sft have no such default).

    \b
    Exit codes: 0 done, 1 failed or without a reply, 2 bad input, 3 a run stopped and can be
    resumed, 130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for command in (chat, run, batch, ctl, sft, evaluate, export, memory, serve, mcp, view, prompt, doctor):
    trioagent.add_command(command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; nothing but ``SystemExit`` ever escapes.

    Args:
        argv: the arguments after the program's name; ``sys.argv[1:]`` if None.
    """
    prepare_streams()
    options = GlobalOptions()
    arguments = None if argv is None else list(argv)
    return exit_code_of(
        lambda: trioagent.main(arguments, prog_name="trioagent", standalone_mode=False, obj=options), options
    )
