"""Which blocks need more of the standard library than the usual zygote has imported?

A guess from the block's text decides where it runs. It may be wrong: then it costs time, and nothing else. A block sent
to the whole library for no reason runs there as well; one that misses something fails, saves nothing, and is run again.
"""

from __future__ import annotations

import re
import sys

_NAME = re.compile(r"[^\W\d][\w.]*")
_MISSING = re.compile(r"(?:ModuleNotFoundError: No module named|ImportError: cannot import name) '(\w+)")
_UNKNOWN_ENCODING = "LookupError: unknown encoding:"
# Packages of which only a part is imported: their bare name may mean any other.
_PARTLY_THERE = frozenset({"encodings", "importlib", "urllib"})


def names_more(code: str, present: frozenset[str]) -> bool:
    """Does a line of *code* that imports something name a module of the library that is not *present*?"""
    if "import" not in code:
        return False
    return any(
        name.partition(".")[0] in sys.stdlib_module_names and (name not in present or name in _PARTLY_THERE)
        for line in code.splitlines()
        if "import" in line
        for name in _NAME.findall(line)
    )


def missed(error: str) -> bool:
    """Did a block end with this *error* for want of something that the whole library has?"""
    found = _MISSING.match(error)
    return error.startswith(_UNKNOWN_ENCODING) or (found is not None and found[1] in sys.stdlib_module_names)
