"""Names that a block has without an import: memory-agent models write ``os.listdir`` and ``json.loads`` without one."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

MODULES = """
collections copy datetime functools glob io itertools json math os pathlib random re string sys textwrap time
""".split()
"""Modules that are imported in every zygote."""

FULL_MODULES = "base64 csv decimal fractions hashlib statistics uuid".split()
"""Modules that only the full library has; a block that uses one by its bare name is run there."""

MEMBERS = {
    "Any": "typing",
    "Counter": "collections",
    "Dict": "typing",
    "List": "typing",
    "Optional": "typing",
    "Path": "pathlib",
    "date": "datetime",
    "defaultdict": "collections",
    "timedelta": "datetime",
}
"""Classes by their bare name, and the module of each."""

CLASS_METHODS = ("combine", "fromisoformat", "fromtimestamp", "now", "strptime", "today", "utcnow")
"""Attributes of the class ``datetime`` that are used where the name may mean the module."""


class _DatetimeModule(ModuleType):
    """The module ``datetime``, which also has the attributes of its class, such as ``datetime.now()``."""

    def __getattr__(self, name: str) -> Any:
        module = sys.modules["datetime"]
        return getattr(module.datetime if name in CLASS_METHODS else module, name)


def ready_names() -> dict[str, object]:
    """The names for the modules that have been imported."""
    names: dict[str, object] = {name: sys.modules[name] for name in MODULES + FULL_MODULES if name in sys.modules}
    names |= {name: getattr(sys.modules[of], name) for name, of in MEMBERS.items() if of in sys.modules}
    names["datetime"] = _DatetimeModule("datetime")
    return names
