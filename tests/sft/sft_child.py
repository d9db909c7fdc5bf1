"""Makes conversations in a process of its own, which may kill itself at a journal write since its first job began.

Usage: sft_child.py RUN_DIR WRITE before|after

The last persona says nothing that could be noted, so its attempts are all rejected. Every attempt that begins is a line
of ``attempts.log`` beside the run directory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from tests.batch.batch_child import die_at
from tests.sft.people import persona_body
from trioagent.runtime import open_runtime
from trioagent.sft import ScriptedPersona, SftConfig, generate_conversations

NAMES = ["Mara Holt", "Jon Reyes", "Ines Duval", "Silent Bob"]
RETRIES = 2


class LoggedPersona:
    """A scripted persona that tells the log when it begins to talk."""

    def __init__(self, persona: dict[str, str], facts: object, log: Path) -> None:
        self._name, self._log = persona["name_surname"], log
        self._script = ScriptedPersona(persona, facts, num_turns=2)

    async def achat(self, message: str | None = None) -> str:
        if message is None:
            with self._log.open("a") as file:
                file.write(f"{self._name}\n")
        if self._name == NAMES[-1]:
            return "Hello!" if message is None else ""
        return await self._script.achat(message)


async def main(run_dir: Path) -> None:
    log = run_dir.with_name("attempts.log")
    async with open_runtime("offline-rules") as runtime:
        await generate_conversations(
            [persona_body(name) for name in NAMES],
            [["I live in Porto."]] * len(NAMES),
            lambda persona, facts: LoggedPersona(persona, facts, log),
            runtime=runtime,
            run_dir=run_dir,
            config=SftConfig(num_turns=2, max_retries=RETRIES, max_concurrent=2),
        )


if __name__ == "__main__":
    run_dir, write, when = sys.argv[1:]
    if int(write):
        die_at(int(write), when, of_jobs=True)
    trio.run(main, Path(run_dir))
