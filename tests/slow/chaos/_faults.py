"""What goes wrong at the server, when, and how it looks on the wire."""

from __future__ import annotations

import random

import attrs

from trioagent.testing import Fault, Say
from trioagent.testing._script import Wire

from ._script import COMPLETION_TOKENS

OVERLOADS = ("429", "429, Retry-After", "503", "503, Retry-After")
OUTAGES = ("reset", "503", "quota")
# How often each comes, in relation to the others. Overloads are rare here, since they come in storms besides: each
# cuts how many requests the batch has in flight, and a server that says so at random would have them one by one.
WEIGHTS = {
    **dict.fromkeys(OVERLOADS, 0.1),
    "500": 5,
    "502 with a page": 2,
    "hang": 1.5,
    "hang in the stream": 1.5,
    "endless": 0.5,
    "reset": 4,
    "reset in the stream": 4,
    "closed": 3,
    "cut stream": 5,
    "cut JSON": 3,
    "garbage": 3,
    "null choices": 3,
    "error in the stream": 3,
}
# The same one of these twice in a row for one answer is taken for good: the batch gives up, and rightly. A connection
# that closes between them is no attempt of its own if it was an idle one, so there is only one of these in an answer.
_ONCE = {"cut JSON", "garbage", "null choices", "error in the stream"}
MOST = 4  # faults of one answer, storms included: fewer than the batch's attempts
_SHARE = 0.25  # of answers with a fault
_AGAIN = 0.3


def schedule(seed: int, number: int, turn: int) -> tuple[str, ...]:
    """The faults that come before a job's answer number *turn*."""
    chance = random.Random(f"{seed} faults {number}.{turn}")
    kinds: list[str] = []
    likely = _SHARE
    while chance.random() < likely and len(kinds) < MOST - 1:
        (kind,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        if not (kind in _ONCE and _ONCE.intersection(kinds)):
            kinds.append(kind)
            likely = _AGAIN
    return tuple(kinds)


def fault(kind: str, count: int) -> Wire:
    """A fault as bytes; *count* makes words differ where sameness would mean something."""
    match kind:
        case "429":
            return Fault.status(429, "slow down")
        case "429, Retry-After":
            return Fault.status(429, "slow down", retry_after=0.3)
        case "503":
            return Fault.status(503, "overloaded")
        case "503, Retry-After":
            return Fault.status(503, "overloaded", retry_after=1)
        case "quota":
            error = {"message": f"You exceeded your current quota ({count} tokens)", "code": "insufficient_quota"}
            return Fault.json({"error": error}, status=429)
        case "500":
            return Fault.status(500, f"worker {count} crashed", delay=0.02)
        case "502 with a page":
            return Fault.body(b"<html><h1>Bad Gateway</h1></html>", content_type="text/html", status=502)
        case "hang":
            return Fault.hang()
        case "hang in the stream":
            return Fault.hang_mid_body("<think>half a th")
        case "endless":
            return Fault.endless("and so on ", pace=0.05)
        case "reset":
            return Fault.drop(then="reset")
        case "reset in the stream":
            return Fault.half_body("<think>half a th", then="reset")
        case "closed":
            return Fault.drop()
        case "cut stream":
            return Fault.half_body("<think>done</think>\n<python></python>\n<reply>not the wh")
        case "cut JSON":
            return Fault.bad_json()
        case "garbage":
            return Fault.garbage()
        case "null choices":
            return Fault.null_choices()
        case "error in the stream":
            return Fault.events({"error": {"message": "the engine died"}})
    raise ValueError(f"there is no fault {kind!r}")


def lasting(kind: str, number: int) -> Wire:
    """What a job that is meant to fail gets, each time it asks."""
    match kind:
        case "refused":
            return Fault.status(400, f"the prompt of job {number} is not allowed")
        case "broken":  # with a 500 it would be an outage, when nobody else asks any more
            return Fault.status(501, "this prompt needs what the worker does not have")
        case "nonsense":
            return Fault.null_choices()
        case "silent":
            return Fault.hang()
    raise ValueError(f"there is no lasting fault {kind!r}")


def right(text: str, *, chance: random.Random, latency: float) -> tuple[str, Say]:
    """A good answer in one of its forms: the name of the form, and the answer."""
    say = Say(text, delay=chance.uniform(0, latency), chunk=40, usage=(12, COMPLETION_TOKENS))
    match chance.random():
        case x if x < 0.1:
            return "right, slow bytes", attrs.evolve(say, chunk=16, piece=150, pace=0.01)
        case x if x < 0.3:
            return "right, in one JSON body", attrs.evolve(say, ignore_stream=True)
        case x if x < 0.4:
            return "right, connection closed", attrs.evolve(say, then="close")
    return "right", say
