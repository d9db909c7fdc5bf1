"""What `Agent.stream_chat` gives, in order, while a turn goes on."""

from __future__ import annotations

import attrs

from ._messages import AgentResponse, Usage
from ._parsed_reply import Delta, ParsedReply
from .models._base import Retrying
from .sandbox import BlockResult


@attrs.frozen
class Answered:
    """The model's answer is complete; what was shown as `Delta` pieces is now final.

    Attributes:
        finish_reason: the server's word ("stop", "length", …); "" if the generation was stopped early.
    """

    answer: ParsedReply
    usage: Usage
    finish_reason: str = ""


@attrs.frozen
class CodeStarted:
    """The answer's code starts to run."""

    code: str


@attrs.frozen
class CodeResult:
    """The code ended, and what it changed is saved or dropped."""

    result: BlockResult


@attrs.frozen
class Replied:
    """The turn is over: always the last event."""

    response: AgentResponse


AgentEvent = Delta | Retrying | Answered | CodeStarted | CodeResult | Replied
