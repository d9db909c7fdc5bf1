"""What a model server's behaviour means: one table, from what was seen of a failed request to the action to take. Pure.

A row matches by status, by the fields of the error object (its code, type, status and reason), by the parameter it
names, by patterns in its message where a server sends nothing better, by the kind of exception, by finish reason, or
by a ``Retry-After`` above the maximum. The first matching row counts. Messages are never compared as a whole, since
they contain ids and amounts. ``tests/models/test_server_behaviour.py`` tests each row over HTTP, with messages of real
servers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence, Set
from typing import Literal

import attrs

from ._config import RetryPolicy
from ._errors import (
    EndpointHeldError,
    ModelCertificateError,
    ModelConnectionError,
    ModelError,
    ModelProtocolError,
    ModelStatusError,
)

# Finish reasons of answers that ended before the model was finished, as OpenAI, Anthropic, Gemini, Cohere, Mistral,
# LM Studio and others spell them. Such an answer is never taken as complete.
NO_FINISH_REASON = "missing"  # a stream that ended without one, from a server that normally sends one
_BY_FILTER = re.compile(
    r"filter|guardrail|refusal|safety|sensitive|recitation|blocklist|prohibited|spii|^language$|toxic|moderat|policy|"
    r"model_armor|inappropriate"
)
_FAILED = re.compile(  # OpenRouter; vLLM, SGLang; DeepSeek; GLM; Cohere; Ollama
    r"^(error|aborted|abort|failed|failure|insufficient_system_resource|network_error|internal_error|timeout|"
    r"user_cancel|cancelled|canceled|unload|load)$"
)
_CUT = re.compile(
    rf"{_BY_FILTER.pattern}|length|max|limit|trunc|exceed|incomplete|repetition|malformed|unexpected_tool|"
    rf"too_many_tool|^(other|unknown|unspecified|{NO_FINISH_REASON})$"
)


def is_cut(finish_reason: str) -> bool:
    """Whether an answer with this finish reason ended before the model was finished."""
    return _CUT.search(_normal_form(finish_reason)) is not None


def is_cut_by_filter(finish_reason: str) -> bool:
    """Whether a content filter, or the model's own refusal, ended the answer."""
    return _BY_FILTER.search(_normal_form(finish_reason)) is not None


def is_failed(finish_reason: str) -> bool:
    """Whether the generation failed, so that there is no answer."""
    return _FAILED.search(_normal_form(finish_reason)) is not None


def _normal_form(finish_reason: str) -> str:
    """A finish reason in lower case and words joined by underscores, without the name of its enumeration.

    Gemini's compatible endpoint appends its own reason, as in ``content_filter: RECITATION``.
    """
    words = _BETWEEN_WORDS.sub("_", finish_reason.partition(":")[0].strip()).lower().rpartition(".")[2]
    return words.removeprefix("finish_reason_")


_BETWEEN_WORDS = re.compile(r"[- ]|(?<=[a-z])(?=[A-Z])")


@attrs.frozen
class Retry:
    """Transient: send the same request again, after a pause."""


@attrs.frozen
class HoldEndpoint:
    """The server is unavailable or overloaded: no request to the endpoint makes sense for a while, except a probe."""


@attrs.frozen
class CloseEndpoint:
    """The endpoint refuses every request until somebody acts; the reason says how.

    Attributes:
        reason: "key" (it is wrong or has no permission), "quota" (money or allowance is used up), "wait" (the server
            asks for a longer wait than is allowed), "model" (the server has no such model), "address" (there is no such
            service) or "certificate" (it is not trusted).
    """

    reason: Literal["key", "quota", "wait", "model", "address", "certificate"]


@attrs.frozen
class FailJob:
    """The server will always refuse this request, but may accept others.

    Attributes:
        reason: "context" (the conversation is too long), "filter" (a content filter) or "request" (anything else).
    """

    reason: Literal["context", "filter", "request"] = "request"


Change = Literal[
    "no_stream_options",
    "no_stream",
    "max_completion_tokens",
    "no_temperature",
    "no_top_p",
    "no_seed",
    "no_stop",
    "system_as_user",
]


@attrs.frozen
class AdaptRequest:
    """The server does not accept a part of the request: change that part, send it again, and keep the change."""

    change: Change


Action = Retry | HoldEndpoint | CloseEndpoint | FailJob | AdaptRequest


@attrs.frozen(kw_only=True)
class Failure:
    """What was seen of a failed request.

    Attributes:
        status: the HTTP status, or the one that corresponds to an error inside a response; 0 for none.
        code: the fields of the error object: code, type, status and reason.
        param: the parameter that the error names.
        text: the error's message.
        exception: what failed below HTTP or in parsing the answer.
        asked_to_wait: the seconds of ``Retry-After``.
    """

    status: int = 0
    code: str = ""
    param: str = ""
    text: str = ""
    exception: Literal["", "connection", "certificate", "protocol"] = ""
    finish_reason: str = ""
    asked_to_wait: float | None = None

    @classmethod
    def of(cls, error: ModelError) -> Failure:
        """The failure that *error* describes."""
        match error:
            case ModelStatusError():
                return cls(
                    status=error.status,
                    code=error.code,
                    param=error.param,
                    text=error.detail,
                    asked_to_wait=error.retry_after,
                )
            case ModelCertificateError():
                return cls(exception="certificate", text=error.problem)
            case ModelConnectionError():
                return cls(exception="connection", text=error.problem)
            case ModelProtocolError():
                return cls(exception="protocol", text=error.problem, finish_reason=error.finish_reason)
            case _:
                return cls(text=str(error))


@attrs.frozen(kw_only=True)
class Row:
    """What some failures mean. A condition that is not given matches every failure.

    Attributes:
        about: whose behaviour it is.
        then: the action.
        others_too: the action when other requests to the endpoint fail too.
        code, param, text: patterns to be found in the failure's fields, in any letter case.
        exceeds_max_retry_after: ``Retry-After`` is above the maximum.
    """

    about: str
    then: Action
    others_too: Action | None = None
    status: Set[int] | range = frozenset()
    code: re.Pattern[str] | None = None
    param: re.Pattern[str] | None = None
    text: re.Pattern[str] | None = None
    exception: str = ""
    finish_reason: Callable[[str], bool] | None = None
    exceeds_max_retry_after: bool = False

    def matches(self, failure: Failure, max_retry_after: float) -> bool:
        return (
            (not self.status or failure.status in self.status)
            and (self.code is None or self.code.search(failure.code) is not None)
            and (self.param is None or self.param.search(failure.param) is not None)
            and (self.text is None or self.text.search(failure.text) is not None)
            and (not self.exception or failure.exception == self.exception)
            and (self.finish_reason is None or self.finish_reason(failure.finish_reason))
            and (not self.exceeds_max_retry_after or (failure.asked_to_wait or 0.0) > max_retry_after)
        )


def _any(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(words), re.IGNORECASE)


def _number(*codes: str) -> str:
    """A pattern for codes that are numbers."""
    return rf"(?<!\S)({'|'.join(codes)})(?!\S)"


def _unsupported(name: str, change: Change) -> Sequence[Row]:
    """Rows for a parameter that a server does not accept, named in the error's ``param`` or only in its message."""
    return (
        Row(
            about=f"OpenAI, Azure: {name} is named as the parameter, and a code says that it is not supported",
            status=_BAD_REQUEST,
            param=_any(rf"(^|\W){name}(\W|$)"),
            code=_any("unsupported", "not_supported", "unknown", "unrecognized", "extra_forbidden"),
            then=AdaptRequest(change),
        ),
        Row(
            about=f"FastAPI (vLLM, SGLang, Mistral): {name} is named as the parameter, and the message says so",
            status=_BAD_REQUEST,
            param=_any(rf"(^|\W){name}(\W|$)"),
            text=_any(_NOT_TAKEN),
            then=AdaptRequest(change),
        ),
        Row(
            about=f"LiteLLM, llama.cpp, gateways: {name} is named in the message",
            status=_BAD_REQUEST,
            text=_any(rf"{_NOT_TAKEN}.{{0,80}}\W{name}\b", rf"\b{name}\W.{{0,80}}{_NOT_TAKEN}"),
            then=AdaptRequest(change),
        ),
    )


_BAD_REQUEST = frozenset({400, 422})
_NOT_TAKEN = (
    r"(unsupported|not.{0,3}support|not permitted|not allowed|forbidden|unrecogni[sz]ed|unknown|unexpected|deprecated|"
    r"extra (input|field)s?)"
)
# Statuses of an overloaded server, which fewer concurrent requests help. 529 is used by model providers.
OVERLOAD_STATUSES = frozenset({429, 503, 529})
# A gateway's messages about a server behind it that it cannot reach.
GATEWAY_STATUSES = frozenset({502, 504})
_AWAY = HoldEndpoint()

ROWS: Sequence[Row] = (
    Row(about="TLS: the certificate is not trusted", exception="certificate", then=CloseEndpoint("certificate")),
    # Money, allowance and keys. Their statuses vary, so the messages are checked first.
    Row(
        about="OpenAI, Azure, LiteLLM, MiniMax, Novita, Ark, GLM (1113): quota or budget is used up (429, 400 or 403)",
        code=_any(
            "insufficient_quota",
            "billing",
            "budget_exceeded",
            "quota_?exceeded",
            "exceeded_current_quota",
            "insufficient_balance",
            "not_enough_balance",
            "arrearage",
            "account_?overdue",
            _number("1113", "1309"),
        ),
        then=CloseEndpoint("quota"),
    ),
    # Codes before words: a message may quote the prompt, whatever that says.
    Row(
        about="Azure, OpenAI, LiteLLM, DashScope, Ark, GLM (1301): the content filter refuses the prompt",
        code=_any(
            "content_?filter",
            "content_?policy",
            "ResponsibleAIPolicyViolation",
            "invalid_prompt",
            "moderation",
            "data_?inspection",
            "safety_check_failed",
            "sensitive_?content",
            _number("1301"),
        ),
        then=FailJob("filter"),
    ),
    Row(
        about="OpenAI, vLLM, llama.cpp, LiteLLM: the context is too long",
        code=_any(
            "context_length_exceeded",
            "exceed_context_size",
            "context_?(window_?)?exceeded",
            "string_above_max_length",
            _number("1261"),
        ),
        then=FailJob("context"),
    ),
    Row(
        about="OpenRouter, Anthropic, LiteLLM, xAI, Gemini, Fireworks (412), MiniMax (500): no money, in words",
        status=frozenset({400, 402, 403, 412, 429, 500}),
        text=_any(
            "can only afford",
            "credit balance is too low",
            "insufficient (account )?(credits?|balance|funds)",
            "(balance|credits?|funds) (is|are) (insufficient|not enough|depleted|exhausted|used up)",
            "budget has been exceeded",
            "exceeded ?(token ?)?budget",
            "key limit exceeded",
            "out of call volume quota",
            "api usage limits",
            "(hourly|daily|weekly|monthly|session) usage limit",
            "used all available credits",
            "spending (limit|cap)",
            "daily free allocation",
            "usage limit reached",
            "欠费",
            "余额不足",
            "have any credits",
        ),
        then=CloseEndpoint("quota"),
    ),
    Row(
        about="Gemini, GLM (1304, 1308, 1310): the allowance of a day, some hours or a week is used up",
        status=frozenset({429}),
        code=_any("PerDay", _number("1304", "1308", "1310")),
        then=CloseEndpoint("quota"),
    ),
    Row(
        about="OpenRouter's free models, Bedrock: the same in words",
        status=frozenset({429}),
        text=_any("per-day", "too many tokens per day"),
        then=CloseEndpoint("quota"),
    ),
    Row(about="everybody: payment required", status=frozenset({402}), then=CloseEndpoint("quota")),
    Row(
        about="OpenAI (403), LiteLLM (401), GitHub, Mistral, Groq, Together, Azure (400): this key has no such model",
        code=_any(
            "model_not_found",
            "DeploymentNotFound",
            "model_access_denied",
            "(unknown|unsupported|unavailable)_model",
            "model_(decommissioned|deprecated|not_supported|not_available)",
            "OperationNotSupported",
            r"\binvalid_model\b",
            _number("1211", "1311"),
        ),
        then=CloseEndpoint("model"),
    ),
    Row(
        about="OpenAI, Hugging Face, Cerebras: the model is named as the parameter",
        status=frozenset({400, 403, 422}),
        param=_any("^model$"),
        then=CloseEndpoint("model"),
    ),
    Row(
        about="Ollama's cloud, Bedrock (403): this key has no such model, in words",
        status=frozenset({403}),
        text=_any("requires a subscription", "access to the model"),
        then=CloseEndpoint("model"),
    ),
    Row(
        about="Gemini, OpenAI: a key that is none (400 from Gemini)",
        code=_any("(invalid|missing)_api_key", "api_key_invalid", "authentication_error", "auth_error", "deactivated"),
        then=CloseEndpoint("key"),
    ),
    Row(about="everybody: unauthorized, or a proxy says so", status=frozenset({401, 407}), then=CloseEndpoint("key")),
    Row(
        about="xAI, Anthropic, Gemini: a key, an organization or a country is refused in words (400)",
        status=frozenset({400}),
        text=_any(
            "(incorrect|invalid|expired) api.?key",
            "api.?key (is )?(not valid|invalid|expired)",
            "organization has been disabled",
            "location is not supported",
        ),
        then=CloseEndpoint("key"),
    ),
    # The content filter in words, before 403 and 400 in general.
    Row(
        about="OpenRouter, LiteLLM: the content filter in words (403, 400)",
        status=frozenset({400, 403}),
        text=_any("flagged", "content.?policy", "content management policy", "moderation", "guardrail"),
        then=FailJob("filter"),
    ),
    Row(
        about="Cloudflare, AWS, Akamai, F5: a firewall blocks one prompt, or everybody for a while (403)",
        status=frozenset({403}),
        text=_any(
            "attention required",
            "been blocked",
            "just a moment",
            "request (was |is |has been )?blocked",
            "requested url was rejected",
            "access denied.{0,200}reference #",
        ),
        then=Retry(),
        others_too=_AWAY,
    ),
    Row(about="everybody: forbidden", status=frozenset({403}), then=CloseEndpoint("key")),
    Row(
        about="vLLM, LM Studio: the engine has died, which is reported as the request's fault",
        status=_BAD_REQUEST,
        text=_any("EngineCore", "EngineDead", "background loop (has|is)", "model has crashed", "model unloaded"),
        then=Retry(),
        others_too=_AWAY,
    ),
    Row(about="LiteLLM: its database is down (400)", code=_any("no_db_connection"), then=Retry(), others_too=_AWAY),
    # A conversation that is too long. llama.cpp and its relatives report it as 400 or 500.
    Row(
        about="OpenAI, Groq: one request has more tokens than are allowed in a minute (429)",
        status=frozenset({413, 429}),
        text=_any("request too large for", "must be reduced in order to run"),
        then=FailJob("context"),
    ),
    Row(
        about="vLLM, SGLang, Anthropic, Gemini, Ollama, llama.cpp: the context is too long, in words",
        status=frozenset({400, 413, 422, 500}),
        text=_any(
            "maximum context length",
            "longer than the model'?s context",
            "available context size",
            "context (length|window|limit|size)",
            "prompt is too long",
            "exceed.{0,20}n_ctx",
            "input token count",
            "input is too long",
            "model token limit",
            "max_tokens must be at least 1, got -",  # vLLM: what is left beside the prompt
        ),
        then=FailJob("context"),
    ),
    # A model that the server does not have.
    Row(
        about="OpenAI: no such address",
        status=frozenset({404}),
        code=_any("unknown_url"),
        then=CloseEndpoint("address"),
    ),
    Row(
        about="OpenAI: the same in words; a gateway without its server, a path that FastAPI does not have",
        status=frozenset({404}),
        text=_any(r"invalid url\b", "unknown request url", "^<", r"^(404 )?(page )?not found\W*$", "default backend"),
        then=CloseEndpoint("address"),
    ),
    Row(
        about="vLLM, Anthropic: no such model",
        code=_any("not_found_error", "NotFoundError"),
        then=CloseEndpoint("model"),
    ),
    Row(
        about="OpenRouter, LiteLLM, DeepSeek, Ollama, LM Studio, vLLM: no such model, or not for chats, in words (400)",
        status=_BAD_REQUEST,
        text=_any(
            "not a valid model",
            r"invalid model\b",
            "unknown model",
            "model .{0,200}(does not exist|not found)",
            "model not exist",
            "no such model",
            "no models? loaded",
            "model identifier is invalid",
            "model not supported by",
            "requested model .{0,200}not supported",
            "not work with the specified model",
            r"does not support (chat|completions?)\b",
            "must provide a chat template",
        ),
        then=CloseEndpoint("model"),
    ),
    Row(about="everybody: not found", status=frozenset({404}), then=CloseEndpoint("model")),
    Row(about="everybody: a redirect, or no POST here", status={*range(300, 400), 405}, then=CloseEndpoint("address")),
    # Parts of the request that a server does not accept.
    Row(
        about="OpenAI's early reasoning models, vLLM, SGLang, llama.cpp (500): chat templates without a system role",
        status=frozenset({400, 422, 500}),
        text=_any(
            "system.{0,3} role.{0,10}not supported",
            "does not support.{0,3}system",
            "roles are supported, got system",
            "conversation roles must alternate",
            r"system messages? (is|are) not supported",
            r"developer instruction is not enabled",
        ),
        then=AdaptRequest("system_as_user"),
    ),
    Row(
        about="OpenAI: the role of the first message is named as the parameter",
        status=_BAD_REQUEST,
        param=_any(r"messages\W?0\W*role"),
        then=AdaptRequest("system_as_user"),
    ),
    *_unsupported("stream_options", "no_stream_options"),
    *_unsupported("stream", "no_stream"),
    Row(
        about="gateways: streaming in words",
        status=_BAD_REQUEST,
        text=_any("streaming is not", "not support streaming", "must be verified to stream"),
        then=AdaptRequest("no_stream"),
    ),
    *_unsupported("max_tokens", "max_completion_tokens"),
    Row(
        about="Anthropic: one of two parameters that exclude each other",
        status=_BAD_REQUEST,
        text=_any(r"\btop_p\b.{0,20}cannot both be", r"cannot both be.{0,40}\btop_p\b"),
        then=AdaptRequest("no_top_p"),
    ),
    *_unsupported("temperature", "no_temperature"),
    *_unsupported("top_p", "no_top_p"),
    *_unsupported("seed", "no_seed"),
    *_unsupported("stop", "no_stop"),
    # Transient failures.
    Row(
        about="everybody: Retry-After beyond patience",
        status={*OVERLOAD_STATUSES, 408, 409, 425, 500, 502, 504},
        exceeds_max_retry_after=True,
        then=CloseEndpoint("wait"),
    ),
    Row(
        about="everybody: overload and rate limits; OpenRouter and Anthropic in the stream",
        status=OVERLOAD_STATUSES,
        then=Retry(),
        others_too=_AWAY,
    ),
    Row(
        about="everybody: timeouts, conflicts, too early; TGI (424), Groq (498), Gemini (499): the generation failed",
        status=frozenset({408, 409, 424, 425, 498, 499}),
        then=Retry(),
        others_too=_AWAY,
    ),
    Row(about="llama.cpp: not implemented", status=frozenset({501}), then=FailJob()),
    Row(about="everybody: the server failed", status=range(500, 1000), then=Retry(), others_too=_AWAY),
    Row(about="everybody: a bad request", status=range(400, 500), then=FailJob()),
    Row(
        about="everybody: no connection, a broken one, silence, no such host",
        exception="connection",
        then=Retry(),
        others_too=_AWAY,
    ),
    Row(
        about="OpenRouter, SGLang, vLLM, DeepSeek: the generation failed",
        finish_reason=is_failed,
        then=Retry(),
        others_too=_AWAY,
    ),
    Row(
        about="gateways, captive portals: an answer that is none",
        exception="protocol",
        then=Retry(),
        others_too=_AWAY,
    ),
)


def action_of(error: ModelError, *, max_retry_after: float = RetryPolicy().max_retry_after) -> Action:
    """The action for the error of an answer."""
    if isinstance(error, EndpointHeldError):
        return HoldEndpoint()
    return action_for(Failure.of(error), max_retry_after=max_retry_after)


def action_for(failure: Failure, *, max_retry_after: float, others_fail: bool = False) -> Action:
    """The action for *failure*.

    Args:
        max_retry_after: the longest ``Retry-After`` that is obeyed, in seconds.
        others_fail: other requests to the endpoint have failed, and none has succeeded since.
    """
    row = row_for(failure, max_retry_after=max_retry_after)
    if row is None:
        return FailJob()
    return row.others_too if others_fail and row.others_too is not None else row.then


def row_for(failure: Failure, *, max_retry_after: float) -> Row | None:
    """The first row of the table that matches *failure*."""
    return next((row for row in ROWS if row.matches(failure, max_retry_after)), None)


# Errors that a server reports inside a response with status 200 often name a kind instead of a status.
_STATUS_OF_CODE: Sequence[tuple[re.Pattern[str], int]] = (
    (_any("insufficient_quota", "rate_?limit", "throttl", "too_many_requests", "RESOURCE_EXHAUSTED"), 429),
    (_any("overload", "^529$"), 529),
    (_any("unavailable"), 503),
    (_any("time_?out", "DEADLINE_EXCEEDED"), 504),
    (_any("authentication", "invalid_api_key", "unauthorized", "login_fail"), 401),
    (_any("billing", "payment", "credits", "balance(?!r)"), 402),
    (_any("permission", "forbidden"), 403),
    (_any("not_?found"), 404),
    (_any("too_large"), 413),
    (_any("invalid_?request", "bad_?request", "INVALID_ARGUMENT", "context_length", "content_?filter"), 400),
    (_any("server_?error", "api_error", "internal"), 500),
)


def status_of_code(code: str) -> int:
    """The HTTP status that corresponds to the fields of an error object; 0 if there is none."""
    return next((status for pattern, status in _STATUS_OF_CODE if pattern.search(code)), 0)
