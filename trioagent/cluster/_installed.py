"""The versions installed on a machine: driver and workers must have the same trioagent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from .. import __version__


def source_digest() -> str:
    """A digest of this package's source, since a version may have many states. Reads all of it, in some 10 ms."""
    package = Path(__file__).parents[1]
    digest = blake2b(digest_size=8)
    for path in sorted(package.rglob("*.py")):
        digest.update(os.fsencode(path.relative_to(package)) + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def difference(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Why a worker with *there* cannot work for a driver with *here*; "" if it can.

    Args:
        there, here: results of `installed`; only ``error`` if trioagent cannot be imported.
    """
    if "error" in there:
        return f"trioagent cannot be imported there ({there['error']}); install {here['version']} on all machines"
    if there["version"] != here["version"]:
        return f"it has trioagent {there['version']}, and the driver {here['version']}; install the same on both"
    if there["source"] != here["source"]:
        return f"it has a different state of trioagent {here['version']} than the driver; install the same on both"
    return ""


def installed() -> dict[str, str]:
    """The versions in this process."""
    return {"version": __version__, "source": source_digest()}


def actor_class() -> type:
    """The class of a worker's actor.

    Ray sends it as code instead of by name, since it is defined in a function. So it also runs on machines without
    trioagent or with another version, and can report that. Until that is checked it uses only the standard library.
    """

    class TrioagentWorker:
        def installed(self) -> dict[str, str]:
            import socket

            found = {"node": socket.gethostname()}
            try:
                import trioagent

                found |= {"version": str(trioagent.__version__), "source": ""}
                from trioagent.cluster import _installed
            except ImportError as error:
                return found if "version" in found else {**found, "error": str(error)}
            return {**found, **_installed.installed()}

        def begin(self, setup: bytes) -> object:
            """Start to work; returns the result of `RayActor.ready`."""
            import pickle

            from trioagent.cluster._ray import RayActor

            self._actor = RayActor(pickle.loads(setup))
            return self._actor.ready()

        def exchange(self, inbox: Any) -> object:
            return self._actor.exchange(inbox)

        def nudge(self) -> None:
            self._actor.nudge()

        def stop(self) -> None:
            self._actor.stop()

        def export_spans(self) -> None:
            from trioagent._tracing import export_spans

            export_spans()

    return TrioagentWorker
