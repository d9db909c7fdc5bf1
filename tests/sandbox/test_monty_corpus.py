"""Every attack is contained in the monty tier: those of all tiers, and those on what is particular to this one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trioagent._config import SandboxLimits

from .arena import Arena
from .corpus import CASES, Case
from .monty_arena import PairArena
from .monty_tier import MontyBackground

pytestmark = pytest.mark.real

LIMITS = SandboxLimits(wall_seconds=0.6, cpu_seconds=1)
PARTICULAR = (
    Case(
        "tools_dotdot", "a secret is read", "t = [read_file('../other/secret.md'), read_file('a/../../other/secret')]"
    ),
    Case("tools_absolute", "a secret is read", "t = [read_file('@SECRET@'), go_to_link('[[@SECRET@]]')]"),
    Case("tools_write_out", "a file outside changes", "t = create_file('../../outside/SBXPWN', 'x')"),
    Case("pathlib_out", "a file outside changes", "from pathlib import Path\nPath('@OUT@/SBXPWN').write_text('x')"),
    Case("pathlib_dotdot", "a secret is read", "from pathlib import Path\nt = Path('../other/secret.md').read_text()"),
    Case("scan_out", "names outside are read", "import os\nt = list(os.walk('@OUT@')) + list(os.walk('/..'))"),
    Case("nul_in_path", "an escape by a cut path", "open('user.md\\x00/../../outside/SBXPWN', 'w').write('x')"),
    Case("long_argument", "the host or tool server falls", "t = read_file('a' * 50_000_000)"),
    Case("many_errors", "memory of the tool server", "for i in range(20000):\n    read_file('nobody' + str(i))"),
    Case("deep_argument", "the client falls", "x = []\nfor i in range(100000):\n    x = [x]\nread_file(x)"),
    Case("slow_diff", "a tool that cannot be stopped", "write_to_file('user.md', '@@ -1 +1 @@\\n' + ' a\\n' * 400000)"),
    Case("slow_search", "a tool that cannot be stopped", "create_file('a', 'x' * 900000)\nsearch('x ' * 300000)"),
    Case("recursion_in_repr", "the worker falls", "class A:\n    def __repr__(self): return repr(self)\na = A()"),
    Case("endless_repr", "the host waits", "class A:\n    def __repr__(self):\n        while True: pass\na = A()"),
    Case("forged_values", "hostile values reach the host", "def __values__(*a): return [(1, 2), ('x', 'y' * 10**7)]"),
    Case(
        "forged_truth",
        "the tool server falls",
        "def __truth__(x): return 1 / 0\nif 1 < 2: pass\nif read_file('a'): pass",
    ),
    Case("shadowed_tools", "the tool server falls", "repr = str = type = len = locals = None\nx = 1"),
    Case("class_as_value", "the worker falls", "class A: pass\na = A()\n[a, A, type(a)]"),
    Case("class_as_argument", "the client falls", "class A: pass\nt = read_file(A)\nu = read_file([A(), A])"),
    Case("print_flood", "the host grows", "while True:\n    print('x' * 1_000_000)"),
    Case("many_writes", "the tool server grows", "for i in range(10**6):\n    create_file(str(i), 'x' * 100_000)"),
    Case("appends", "the tool server is slow", "f = open('a.md', 'a')\nwhile True:\n    f.write('x' * 1000)"),
    Case("sleep", "the host waits", "import time\ntime.sleep(10**9)"),
    Case("huge_number", "the worker cannot be stopped", "x = 7 ** (10 ** 9)"),
    Case("huge_text", "memory of the machine", "x = 'a' * 10**12\ny = [0] * 10**11"),
    Case("regex", "the worker cannot be stopped", "import re\nre.match('(a+)+$', 'a' * 100000 + 'b')"),
    Case("deep_code", "the parser falls", "eval('(' * 50000 + ')' * 50000)"),
    Case("urandom", "memory of the tool server", "import os\nx = os.urandom(10**10)"),
)
DEEP = (
    Case("deep_parentheses", "a parser falls", "x = " + "(" * 30000 + "1" + ")" * 30000),
    Case("deep_operators", "a parser falls", "x = " + "-" * 200000 + "1"),
    Case("deep_attributes", "a parser falls", "x = a" + ".a" * 100000),
    Case("deep_lists", "a parser falls", "x = " + "[" * 90 + "]" * 90 + "\nif x: y = 1"),
)


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    background = MontyBackground(LIMITS)
    with pytest.MonkeyPatch.context() as patch, background:
        arena = PairArena(background)
        patch.setenv("SBX_SECRET", arena.tokens["environment"])
        with arena.open():
            yield arena


@pytest.mark.parametrize("case", [*CASES, *PARTICULAR, *DEEP], ids=lambda case: case.name)
def test_contained(arena: Arena, case: Case) -> None:
    assert arena.attack(case) == []
