"""Attacks that model-written code might try on purpose or by accident; :mod:`tests.sandbox.arena` runs them."""

from . import (
    exhaustion,
    forgeries,
    hostile_objects,
    interpreter,
    kernel,
    leaks,
    names,
    network,
    oracles,
    planted,
    processes,
    protocol,
    tampering,
    vaults,
    views,
    writes,
)
from ._case import Case as Case

CASES: tuple[Case, ...] = (
    *leaks.CASES,
    *oracles.CASES,
    *writes.CASES,
    *planted.CASES,
    *views.CASES,
    *names.CASES,
    *network.CASES,
    *processes.CASES,
    *kernel.CASES,
    *protocol.CASES,
    *forgeries.CASES,
    *hostile_objects.CASES,
    *interpreter.CASES,
    *tampering.CASES,
    *exhaustion.CASES,
    *vaults.CASES,
)
