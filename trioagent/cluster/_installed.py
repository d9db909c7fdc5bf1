"""What is installed on a machine: driver and workers are to have the same trioagent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from .. import __version__


def source_digest() -> str:
    """Of this package's source: many states of it may have one version. Reads all of it, in some ten milliseconds."""
    package = Path(__file__).parents[1]
    digest = blake2b(digest_size=8)
    for path in sorted(package.rglob("*.py")):
        digest.update(os.fsencode(path.relative_to(package)) + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def difference(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Why a worker that has *there* cannot work for a driver that has *here*; "" if it can.

    Args:
        there, here: as `installed` gives it, with ``error`` in place of the rest where trioagent cannot be imported.
    """
    if "error" in there:
        return f"trioagent cannot be imported there ({there['error']}); install {here['version']} on all machines"
    if there["version"] != here["version"]:
        return f"it has trioagent {there['version']}, and the driver {here['version']}; install the same on both"
    if there["source"] != here["source"]:
        return f"it has another state of trioagent {here['version']} than the driver; install the same on both"
    return ""


def installed() -> dict[str, str]:
    """What there is in this process."""
    return {"version": __version__, "source": source_digest()}


def actor_class() -> type:
    """The class of a worker's actor.

    Ray sends it as code, not by its name, since it is defined in a function. So it also runs where there is no
    trioagent, or another one, and can say so. Only what every version of Python has is used before that is known.
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
            """Start to work; returns what `RayActor.ready` does."""
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
