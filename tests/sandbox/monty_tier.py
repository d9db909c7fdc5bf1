"""The monty tier for tests: as a sandbox of its own, and in the background for tests that are not async.

Also a program, ``python -m tests.sandbox.monty_tier``, which runs two blocks and prints as JSON what came of them: the
way to do so as another user, or on a poorer kernel: with ``poor`` as argument, there is no Landlock and no seccomp.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.lowlevel

from trioagent._config import SandboxLimits
from trioagent.sandbox import Sandbox
from trioagent.sandbox._monty_tier import MontyTier
from trioagent.sandbox._zygote import AS_USUAL, ProcessSettings

from .background import Background
from .refusals import refuse

# Blocks of the other tiers' tests that use what Monty lacks, and the error that a model then gets (its start).
OUTSIDE_THE_SUBSET = {
    "with_open": "NotImplementedError: iterating an unread _io.TextIOWrapper is only supported by 'for' loops",
    "class_basic": "NotImplementedError: this sandbox runs a part of Python, without method decorators",
    "generator": "NotImplementedError: this sandbox runs a part of Python, without yield expressions",
    "dataclass": "ImportError: cannot import name 'asdict' from 'dataclasses'",
    "typing_etc": "ImportError: cannot import name 'OrderedDict' from 'collections'",
    "strmeth": "AttributeError: type object 'str' has no attribute 'maketrans'",
    "move_and_copy": "ModuleNotFoundError: No module named 'shutil'",
    "csv_table": "ModuleNotFoundError: No module named 'io'",
    "print_to_file": "TypeError: print() 'file' argument must be sys.stdout or sys.stderr",
    "enum_and_flags": "NotImplementedError: this sandbox runs a part of Python, without class inheritance",
    "decorators": "AttributeError: module 'functools' has no attribute 'wraps'",
    "glob_and_fnmatch": "ModuleNotFoundError: No module named 'glob'",
    "regex_with_functions": "TypeError: callable replacement is not yet supported in re.sub()",
    "string_templates": "ModuleNotFoundError: No module named 'string'",
    "time_zones": "ModuleNotFoundError: No module named 'zoneinfo'",
    "context_managers": "NotImplementedError: this sandbox runs a part of Python, without yield expressions",
    "pretty_json_file": "ModuleNotFoundError: No module named 'pprint'",
    "abstract_classes": "NotImplementedError: this sandbox runs a part of Python, without class inheritance",
    "collections_and_itertools": "ImportError: cannot import name 'ChainMap' from 'collections'",
    "numbers": "ModuleNotFoundError: No module named 'statistics'",
    "temporary_files": "ModuleNotFoundError: No module named 'tempfile'",
    "less_common_modules": "ModuleNotFoundError: No module named 'argparse'",
    "exceptions": "NotImplementedError: this sandbox runs a part of Python, without class inheritance",
    "early_exit": "AttributeError: module 'sys' has no attribute 'exit'",
    "touch_and_stat": "ModuleNotFoundError: No module named 'stat'",
    "edit_lines_in_place": "ValueError: update modes ('+') are not yet supported",
    "type_hints_and_futures": "NotImplementedError: this sandbox runs a part of Python, without the 'del' statement",
}


@asynccontextmanager
async def open_monty(
    limits: SandboxLimits = SandboxLimits(), processes: ProcessSettings = AS_USUAL
) -> AsyncIterator[tuple[Sandbox, MontyTier]]:
    tier = await MontyTier.start(limits, processes=processes)
    try:
        yield Sandbox(tier, limits), tier
    finally:
        await tier.aclose()


class MontyBackground(Background):
    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._done = trio.Event()
        async with open_monty(self._limits) as (self._sandbox, self.executor):
            self._ready.set()
            await self._done.wait()


async def main() -> None:
    if "poor" in sys.argv:
        refuse(landlock_create_ruleset=errno.ENOSYS, seccomp=errno.ENOSYS)
    with tempfile.TemporaryDirectory() as folder:
        async with open_monty() as (sandbox, tier):
            first = await sandbox.run("create_file('a', 'x')\ny = 6 * 7", memory_path=folder)
            second = await sandbox.run("t = read_file('a')\nu = open('/etc/hostname').read()", memory_path=folder)
            left = sorted(os.listdir(folder))
    print(json.dumps([os.getuid(), dict(tier.handshake), first.locals, second.locals, second.error, left]))


if __name__ == "__main__":
    trio.run(main)
