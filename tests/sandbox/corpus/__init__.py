"""Attacks that model-written code might try on purpose or by accident; :mod:`tests.sandbox.arena` runs them."""

from . import exhaustion, kernel, leaks, network, planted, processes, protocol, tampering, views, writes
from ._case import Case as Case

CASES: tuple[Case, ...] = (
    *leaks.CASES,
    *writes.CASES,
    *planted.CASES,
    *views.CASES,
    *network.CASES,
    *processes.CASES,
    *kernel.CASES,
    *protocol.CASES,
    *tampering.CASES,
    *exhaustion.CASES,
)
