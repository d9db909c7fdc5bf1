"""How model servers word their errors, and what each means: data for `test_server_behaviour`.

The shapes and codes are those of each server's own API documentation and bug reports; the prose is shortened.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

from trioagent._server_behaviour import (
    Action,
    AdaptRequest,
    Change,
    CloseEndpoint,
    FailJob,
    Retry,
)


@attrs.frozen
class Said:
    """An error as a server sends it, and what it means."""

    server: str
    status: int
    body: Any
    means: Action
    headers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.server} {self.status} {self.means}"[:60]

    @property
    def content(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


def openai(status: int, message: str, means: Action, **members: object) -> Said:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None, **members}
    return Said("OpenAI", status, {"error": error}, means)


def unsupported(param: str, change: Change, **members: object) -> Said:
    message = f"Unsupported parameter: '{param}' is not supported with this model."
    said = openai(400, message, AdaptRequest(change), param=param, code="unsupported_parameter")
    return attrs.evolve(said, body={"error": {**said.body["error"], **members}})


def extra_forbidden(param: str, change: Change) -> Said:
    detail = [{"type": "extra_forbidden", "loc": ["body", *param.split(".")], "msg": "Extra inputs are not permitted"}]
    body = {"object": "error", "message": {"detail": detail}, "type": "invalid_request_error", "code": None}
    return Said("Mistral", 422, body, AdaptRequest(change))


def extra_field(param: str, change: Change) -> Said:
    detail = [{"loc": ["body", param], "msg": "extra fields not permitted", "type": "value_error.extra"}]
    return Said("SGLang", 422, {"detail": detail}, AdaptRequest(change))


PARAMETERS: list[tuple[str, Change]] = [
    ("stream_options", "no_stream_options"),
    ("stream", "no_stream"),
    ("max_tokens", "max_completion_tokens"),
    ("temperature", "no_temperature"),
    ("top_p", "no_top_p"),
    ("seed", "no_seed"),
    ("stop", "no_stop"),
]


def in_words(param: str, change: Change) -> Said:
    message = f"litellm.UnsupportedParamsError: openai does not support parameters: ['{param}'], for model=o1"
    body = {"error": {"message": message, "type": "None", "param": "None", "code": "400"}}
    return Said("LiteLLM", 400, body, AdaptRequest(change))


KEY, QUOTA, MODEL = CloseEndpoint("key"), CloseEndpoint("quota"), CloseEndpoint("model")
ADDRESS = CloseEndpoint("address")
CONTEXT, FILTER = FailJob("context"), FailJob("filter")


def quoted(status: int, said: object, means: Action) -> Said:
    """What OpenRouter makes of what a provider said."""
    metadata = {"raw": json.dumps(said), "provider_name": "X"}
    return Said(
        "OpenRouter",
        status,
        {"error": {"message": "Provider returned error", "code": status, "metadata": metadata}},
        means,
    )


def litellm(status: int, message: str, means: Action, **members: object) -> Said:
    return Said(
        "LiteLLM", status, {"error": {"message": message, "param": "None", "code": str(status), **members}}, means
    )


def said(server: str, status: int, message: str, means: Action, **members: object) -> Said:
    return Said(server, status, {"error": {"message": message, **members}}, means)


NEURONS = "you have used up your daily free allocation of 10,000 neurons"
SUBSCRIBE = "this model requires a subscription, upgrade for access"


def anthropic(status: int, message: str, means: Action, type: str = "invalid_request_error") -> Said:
    return Said("Anthropic", status, {"type": "error", "error": {"type": type, "message": message}}, means)


ERRORS = [
    # OpenAI
    openai(
        429,
        "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 45000.",
        CONTEXT,
        type="tokens",
        code="rate_limit_exceeded",
    ),
    openai(
        429,
        "The input or output tokens must be reduced in order to run successfully.",
        CONTEXT,
        type="tokens",
        code="rate_limit_exceeded",
    ),
    openai(403, "Project `proj_x` does not have access to model `gpt-4o`", MODEL, code="model_not_found"),
    openai(404, "Unknown request URL: POST /chat/completions.", ADDRESS, code="unknown_url"),
    openai(404, "Invalid URL (POST /v1/v1/chat/completions)", ADDRESS),
    openai(401, "Incorrect API key provided: sk-a***b.", KEY, code="invalid_api_key"),
    openai(
        429,
        "You exceeded your current quota, check your plan.",
        QUOTA,
        type="insufficient_quota",
        code="insufficient_quota",
    ),
    openai(400, "Billing hard limit has been reached", QUOTA, code="billing_hard_limit_reached"),
    openai(
        429, "Rate limit reached for requests. Limit: 3 / min.", Retry(), type="requests", code="rate_limit_exceeded"
    ),
    openai(404, "The model `gpt-9` does not exist or you do not have access to it.", MODEL, code="model_not_found"),
    openai(400, "This model's maximum context length is 8192 tokens.", CONTEXT, code="context_length_exceeded"),
    openai(400, "Your request was rejected by our safety system.", FILTER, code="content_policy_violation"),
    openai(400, "Invalid prompt: it was flagged as violating the usage policy.", FILTER, code="invalid_prompt"),
    openai(403, "Country, region, or territory not supported", KEY, code="unsupported_country_region_territory"),
    openai(500, "The server had an error while processing your request", Retry(), type="server_error"),
    openai(503, "The engine is currently overloaded, please try again later", Retry(), type="server_error"),
    openai(400, "max_tokens is too large: 100000.", FailJob(), param="max_tokens", code="invalid_value"),
    openai(409, "The resource was updated by another process.", Retry()),
    unsupported("max_tokens", "max_completion_tokens"),
    unsupported("temperature", "no_temperature", code="unsupported_value"),
    unsupported("top_p", "no_top_p", code="unsupported_value"),
    unsupported("stop", "no_stop"),
    unsupported("seed", "no_seed"),
    unsupported("stream", "no_stream", code="unsupported_value"),
    unsupported("stream_options", "no_stream_options", code="unknown_parameter"),
    openai(
        400,
        "Unsupported value: 'messages[0].role' does not support 'x' with this model.",
        AdaptRequest("system_as_user"),
        param="messages[0].role",
        code="unsupported_value",
    ),
    openai(400, "Your organization must be verified to stream this model.", AdaptRequest("no_stream"), param="stream"),
    # Azure
    Said("Azure", 401, {"statusCode": 401, "message": "Unauthorized. Access token is missing or invalid."}, KEY),
    Said(
        "Azure", 404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}, MODEL
    ),
    Said(
        "Azure",
        429,
        {"error": {"code": "429", "message": "Requests have exceeded call rate limit."}},
        Retry(),
        ("retry-after-ms: 250",),
    ),
    Said("Azure", 403, {"error": {"code": "403", "message": "Out of call volume quota."}}, QUOTA),
    Said(
        "Azure",
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering the content management policy.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        FILTER,
    ),
    said(
        "Azure",
        400,
        "The chatCompletion operation does not work with the specified model, x.",
        MODEL,
        code="OperationNotSupported",
    ),
    said("Azure", 400, "The chatCompletion operation does not work with the specified model, x.", MODEL),
    # OpenRouter
    Said("OpenRouter", 404, {"error": {"message": "No endpoints found matching your data policy", "code": 404}}, MODEL),
    Said("OpenRouter", 401, {"error": {"message": "No auth credentials found", "code": 401}}, KEY),
    Said("OpenRouter", 402, {"error": {"message": "Insufficient credits. Add more.", "code": 402}}, QUOTA),
    Said(
        "OpenRouter",
        402,
        {"error": {"message": "You requested up to 4096 tokens, but can only afford 1037.", "code": 402}},
        QUOTA,
    ),
    Said("OpenRouter", 402, {"error": {"message": "Payment required", "code": 402}}, QUOTA),
    Said("OpenRouter", 403, {"error": {"message": "Key limit exceeded (monthly limit).", "code": 403}}, QUOTA),
    Said(
        "OpenRouter",
        403,
        {"error": {"message": "Input flagged", "code": 403, "metadata": {"reasons": ["violence"]}}},
        FILTER,
    ),
    Said("OpenRouter", 403, {"error": {"message": "You do not have permission.", "code": 403}}, KEY),
    Said("OpenRouter", 403, {"error": {"message": "Request blocked by a guardrail.", "code": 403}}, FILTER),
    Said("OpenRouter", 429, {"error": {"message": "Rate limit exceeded: free-models-per-day.", "code": 429}}, QUOTA),
    Said("OpenRouter", 429, {"error": {"message": "Provider returned error", "code": 429}}, Retry()),
    Said("OpenRouter", 408, {"error": {"message": "Request timed out", "code": 408}}, Retry()),
    Said("OpenRouter", 502, {"error": {"message": "Provider returned error", "code": 502}}, Retry()),
    Said("OpenRouter", 503, {"error": {"message": "No available model provider", "code": 503}}, Retry()),
    Said("OpenRouter", 404, {"error": {"message": "No endpoints found for a/b.", "code": 404}}, MODEL),
    Said("OpenRouter", 400, {"error": {"message": "a/b is not a valid model ID", "code": 400}}, MODEL),
    quoted(
        400,
        {"error": {"message": "'temperature' is wrong here", "param": "temperature", "code": "unsupported_parameter"}},
        AdaptRequest("no_temperature"),
    ),
    quoted(429, {"error": {"message": "Check your plan.", "code": "insufficient_quota"}}, QUOTA),
    quoted(400, {"error": {"message": "prompt is too long: 204000 tokens > 200000 maximum"}}, CONTEXT),
    quoted(429, "slow down", Retry()),
    Said("OpenRouter", 429, {"error": {"message": "Rate limit exceeded: free-models-per-min.", "code": 429}}, Retry()),
    # Anthropic's compatible endpoint
    anthropic(400, "This organization has been disabled.", KEY),
    anthropic(400, "You have reached your specified API usage limits. You will regain access on 2026-12-01.", QUOTA),
    anthropic(400, "`temperature` is deprecated for this model.", AdaptRequest("no_temperature")),
    anthropic(400, "`temperature` and `top_p` cannot both be specified for this model.", AdaptRequest("no_top_p")),
    anthropic(400, "max_tokens: 100000 > 64000, the maximum allowed number of output tokens", FailJob()),
    Said(
        "Anthropic",
        401,
        {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}},
        KEY,
    ),
    Said(
        "Anthropic",
        400,
        {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}},
        QUOTA,
    ),
    Said(
        "Anthropic",
        402,
        {"type": "error", "error": {"type": "billing_error", "message": "There is a problem with your payment."}},
        QUOTA,
    ),
    Said("Anthropic", 403, {"type": "error", "error": {"type": "permission_error", "message": "No permission."}}, KEY),
    Said(
        "Anthropic", 404, {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-9"}}, MODEL
    ),
    Said(
        "Anthropic",
        413,
        {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds 32 MB."}},
        FailJob(),
    ),
    Said(
        "Anthropic",
        400,
        {"error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}},
        CONTEXT,
    ),
    Said(
        "Anthropic",
        429,
        {"type": "error", "error": {"type": "rate_limit_error", "message": "Rate limited."}},
        Retry(),
        ("Retry-After: 2",),
    ),
    Said("Anthropic", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Retry()),
    # Gemini's compatible endpoint, which wraps its errors into an array
    Said(
        "Gemini",
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid.",
                    "status": "INVALID_ARGUMENT",
                    "details": [{"reason": "API_KEY_INVALID"}],
                }
            }
        ],
        KEY,
    ),
    Said(
        "Gemini",
        429,
        [
            {
                "error": {
                    "code": 429,
                    "message": "You exceeded your current quota.",
                    "status": "RESOURCE_EXHAUSTED",
                    "details": [
                        {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},
                        {"retryDelay": "32s"},
                    ],
                }
            }
        ],
        QUOTA,
    ),
    Said(
        "Gemini",
        429,
        [
            {
                "error": {
                    "code": 429,
                    "message": "Quota exceeded.",
                    "status": "RESOURCE_EXHAUSTED",
                    "details": [{"retryDelay": "3.5s"}],
                }
            }
        ],
        Retry(),
    ),
    Said(
        "Gemini",
        503,
        [{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}],
        Retry(),
    ),
    Said("Gemini", 404, [{"error": {"code": 404, "message": "models/x is not found.", "status": "NOT_FOUND"}}], MODEL),
    Said(
        "Gemini",
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (2000000) exceeds the maximum.",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        CONTEXT,
    ),
    Said("Gemini", 499, [{"error": {"code": 499, "message": "It was cancelled.", "status": "CANCELLED"}}], Retry()),
    Said(
        "Gemini",
        400,
        [{"error": {"code": 400, "message": "User location is not supported.", "status": "FAILED_PRECONDITION"}}],
        KEY,
    ),
    Said("Gemini", 429, [{"error": {"code": 429, "message": "Your prepayment credits are depleted."}}], QUOTA),
    Said("Gemini", 429, [{"error": {"code": 429, "message": "It has exceeded its monthly spending cap."}}], QUOTA),
    Said(
        "Gemini",
        429,
        {"error": {"code": 429, "message": "No capacity.", "details": [{"reason": "MODEL_CAPACITY_EXHAUSTED"}]}},
        Retry(),
    ),
    Said(  # by way of a gateway
        "Gemini",
        429,
        {"error": {"message": json.dumps({"error": {"details": [{"quotaId": "RequestsPerDay"}]}}), "code": 429}},
        QUOTA,
    ),
    # vLLM, old and new
    said(
        "vLLM",
        400,
        "This model's maximum context length is 2048 tokens. However, your request has 8 input tokens plus 2045 "
        "'max_tokens'. Please reduce one or the other.",
        CONTEXT,
        param="input_tokens, max_tokens",
    ),
    Said("vLLM", 400, {"object": "error", "message": "max_tokens must be at least 1, got -186.", "code": 400}, CONTEXT),
    Said("vLLM", 400, {"object": "error", "message": "Background loop has errored already.", "code": 400}, Retry()),
    Said(
        "vLLM",
        400,
        {"error": {"message": "EngineCore encountered an issue.", "type": "BadRequestError", "code": 400}},
        Retry(),
    ),
    Said(
        "vLLM",
        400,
        {"object": "error", "message": "You must provide a chat template if the tokenizer has none.", "code": 400},
        MODEL,
    ),
    Said(
        "vLLM",
        404,
        {
            "object": "error",
            "message": "The model `x` does not exist.",
            "type": "NotFoundError",
            "param": None,
            "code": 404,
        },
        MODEL,
    ),
    Said(
        "vLLM",
        400,
        {
            "error": {
                "message": "This model's maximum context length is 4096 tokens.",
                "type": "BadRequestError",
                "code": 400,
            }
        },
        CONTEXT,
    ),
    Said("vLLM", 401, {"error": "Unauthorized"}, KEY),
    Said(
        "vLLM",
        500,
        {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}},
        Retry(),
    ),
    Said(
        "vLLM",
        400,
        {
            "object": "error",
            "message": "System role not supported",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        AdaptRequest("system_as_user"),
    ),
    Said(
        "vLLM",
        400,
        {
            "error": {
                "message": "temperature must be non-negative",
                "type": "BadRequestError",
                "param": "temperature",
                "code": 400,
            }
        },
        FailJob(),
    ),
    Said(
        "vLLM",
        400,
        {
            "error": {
                "message": "Conversation roles must alternate user/assistant/user/assistant/...",
                "type": "BadRequestError",
                "code": 400,
            }
        },
        AdaptRequest("system_as_user"),
    ),
    # FastAPI's validation, and gateways that name the parameter in words
    *(build(*parameter) for build in (extra_forbidden, extra_field, in_words) for parameter in PARAMETERS),
    extra_forbidden("stream_options.include_usage", "no_stream_options"),
    Said(
        "gateway", 400, {"error": {"message": "Streaming is not available for this model."}}, AdaptRequest("no_stream")
    ),
    # SGLang
    Said(
        "SGLang",
        400,
        {
            "object": "error",
            "message": "The input (61709 tokens) is longer than the model's context length (40960 tokens).",
            "type": "BadRequestError",
            "code": 400,
        },
        CONTEXT,
    ),
    Said(
        "SGLang",
        503,
        {"object": "error", "message": "The request queue is full.", "type": "service_unavailable", "code": 503},
        Retry(),
    ),
    # llama.cpp
    Said("llama.cpp", 401, {"error": {"code": 401, "message": "Invalid API Key", "type": "authentication_error"}}, KEY),
    Said("llama.cpp", 503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, Retry()),
    Said(
        "llama.cpp",
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 14429,
                "n_ctx": 8192,
            }
        },
        CONTEXT,
    ),
    Said(
        "llama.cpp",
        500,
        {"error": {"code": 500, "message": "the request exceeds the available context size", "type": "server_error"}},
        CONTEXT,
    ),
    Said(
        "llama.cpp",
        500,
        {
            "error": {
                "code": 500,
                "message": "Only user, assistant and tool roles are supported, got system.",
                "type": "server_error",
            }
        },
        AdaptRequest("system_as_user"),
    ),
    Said(
        "llama.cpp",
        501,
        {"error": {"code": 501, "message": "This server does not support it.", "type": "not_supported_error"}},
        FailJob(),
    ),
    # Ollama
    Said(
        "Ollama",
        404,
        {
            "error": {
                "message": 'model "x" not found, try pulling it first',
                "type": "api_error",
                "param": None,
                "code": None,
            }
        },
        MODEL,
    ),
    Said(
        "Ollama",
        503,
        {"error": {"message": "server busy, please try again. maximum pending requests exceeded", "type": "api_error"}},
        Retry(),
    ),
    Said("Ollama", 500, {"error": {"message": "llama runner process has terminated", "type": "api_error"}}, Retry()),
    Said("Ollama", 400, {"error": {"message": '"x" does not support chat', "type": "api_error"}}, MODEL),
    said("Ollama", 403, "this model requires a subscription, upgrade for access: https://ollama.com/upgrade", MODEL),
    Said("Ollama", 403, {"type": "error", "error": {"type": "permission_error", "message": SUBSCRIBE}}, MODEL),
    Said("Ollama", 429, {"error": {"message": "you (x) have reached your weekly usage limit", "type": "a"}}, QUOTA),
    # LiteLLM
    litellm(400, "No connected db.", Retry(), type="no_db_connection"),
    litellm(401, "This key can only access models=['a']. Tried to access x", MODEL, type="key_model_access_denied"),
    litellm(401, "Allowed team models = ['a']", MODEL, type="team_model_access_denied"),
    Said(
        "LiteLLM",
        401,
        {
            "error": {
                "message": "Authentication Error, Invalid proxy server token passed.",
                "type": "auth_error",
                "code": "401",
            }
        },
        KEY,
    ),
    Said(
        "LiteLLM",
        400,
        {
            "error": {
                "message": "Budget has been exceeded! Current cost: 26.0, Max budget: 0.25",
                "type": None,
                "code": "400",
            }
        },
        QUOTA,
    ),
    Said(
        "LiteLLM",
        429,
        {"error": {"message": "Your allowance has been reached.", "type": "budget_exceeded", "code": "429"}},
        QUOTA,
    ),
    Said(
        "LiteLLM",
        429,
        {
            "error": {
                "message": "No deployments available for selected model, Try again in 5 seconds.",
                "type": "None",
                "code": "429",
            }
        },
        Retry(),
    ),
    Said(
        "LiteLLM",
        400,
        {"error": {"message": "Invalid model name passed in model=x.", "type": "invalid_request_error", "code": "400"}},
        MODEL,
    ),
    Said(
        "LiteLLM",
        400,
        {
            "error": {
                "message": "litellm.ContentPolicyViolationError: the content management policy",
                "type": None,
                "code": "400",
            }
        },
        FILTER,
    ),
    Said(
        "LiteLLM",
        400,
        {
            "error": {
                "message": "litellm.ContextWindowExceededError: too many tokens for the context window",
                "code": "400",
            }
        },
        CONTEXT,
    ),
    litellm(429, "ExceededTokenBudget: Current spend for token: 7.2; Max Budget for Token: 2e-07", QUOTA),
    litellm(
        429, "Rate Limit Handler for rate limit type = team. Crossed TPM / RPM / Max Parallel Request Limit.", Retry()
    ),
    # others
    Said(
        "Groq", 413, {"error": {"message": "Request too large for model `x`", "code": "rate_limit_exceeded"}}, CONTEXT
    ),
    Said("Groq", 498, {"error": {"message": "Flex tier capacity exceeded"}}, Retry()),
    Said("TGI", 424, {"error": "Request failed during generation: CUDA error", "error_type": "generation"}, Retry()),
    Said(
        "Mistral", 400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1"}, MODEL
    ),
    Said("DeepSeek", 400, {"error": {"message": "Model Not Exist", "code": "invalid_request_error"}}, MODEL),
    Said("xAI", 400, {"code": "invalid argument", "error": "Incorrect API key provided: ab***."}, KEY),
    Said(
        "xAI",
        429,
        {"code": "exhausted", "error": "Your team has either used all available credits or reached its limit."},
        QUOTA,
    ),
    Said("Fireworks", 412, {"error": {"message": "Suspended, possibly for the monthly spending limit."}}, QUOTA),
    Said("Moonshot", 429, {"error": {"message": "Suspended.", "type": "exceeded_current_quota_error"}}, QUOTA),
    Said("DashScope", 400, {"error": {"message": "Access denied.", "code": "Arrearage"}}, QUOTA),
    Said("DashScope", 400, {"error": {"message": "Inappropriate.", "code": "data_inspection_failed"}}, FILTER),
    Said("LM Studio", 400, {"error": "No models loaded. Please load a model"}, MODEL),
    Said("LM Studio", 400, {"error": "The model has crashed without additional information."}, Retry()),
    Said("GitHub", 400, {"error": {"code": "unknown_model", "message": "Unknown model: x"}}, MODEL),
    said("Groq", 400, "The model `x` has been decommissioned.", MODEL, code="model_decommissioned"),
    said("Together", 404, "Unable to access model x.", MODEL, code="model_not_available"),
    said("Hugging Face", 400, "The requested model 'x' is not supported by any provider you have enabled.", MODEL),
    Said("Hugging Face", 400, {"error": "Model not supported by provider together"}, MODEL),
    said("Copilot", 400, "Not here.", MODEL, code="model_not_supported", param="model"),
    said("Copilot", 400, "Not for you.", MODEL, code="x", param="model"),
    said("Bedrock", 400, "The provided model identifier is invalid.", MODEL),
    said("Bedrock", 403, "You don't have access to the model with the specified model ID.", MODEL),
    said("Bedrock", 429, "Too many tokens per day, please wait before trying again.", QUOTA),
    Said("AWS", 400, {"__type": "ThrottlingException", "Message": "insufficient funds"}, QUOTA),
    said("MiniMax", 500, "insufficient balance (1008)", QUOTA, type="api_error"),
    said("MiniMax", 429, "no more", QUOTA, type="insufficient_balance_error"),
    Said("Novita", 403, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": "not enough"}, QUOTA),
    Said("Novita", 400, {"code": 400, "reason": "MISSING_API_KEY", "message": "no key"}, KEY),
    Said("SiliconFlow", 403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}, QUOTA),
    said("Ark", 403, "Overdue.", QUOTA, code="AccountOverdueError"),
    said("Ark", 400, "No.", FILTER, code="InputTextSensitiveContentDetected"),
    said("GLM", 429, "您的账户已欠费，请充值后重试", QUOTA, code="1113"),
    said("GLM", 429, "您的账户已欠费，请充值后重试", QUOTA),
    said("GLM", 429, "您当前使用该API的并发数过高", Retry(), code="1302"),
    said("GLM", 429, "Usage limit reached for 5 hour.", QUOTA, code="1308"),
    said("GLM", 400, "系统检测到输入或生成内容可能包含不安全或敏感内容", FILTER, code="1301"),
    said("GLM", 400, "模型不存在，请检查模型代码。", MODEL, code="1211"),
    said("GLM", 400, "Prompt 超长", CONTEXT, code="1261"),
    said("Moonshot", 400, "Invalid request: Your request exceeded model token limit: 8192", CONTEXT),
    said("ZenMux", 403, "Refused.", FILTER, type="safety_check_failed"),
    said("ds4", 400, "Prompt tokens (9) exceeds it", CONTEXT, type="context_exceeded"),
    Said("Cloudflare", 429, {"success": False, "errors": [{"code": 4006, "message": NEURONS}]}, QUOTA),
    Said("Cloudflare", 400, {"success": False, "errors": [{"code": 5007, "message": "No such model @cf/x"}]}, MODEL),
    Said("Databricks", 429, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "Exceeded tokens per minute"}, Retry()),
    Said("Databricks", 400, {"error_code": "BAD_REQUEST", "message": "BAD_REQUEST: Input is too long"}, CONTEXT),
    Said("NVIDIA", 404, {"status": 404, "title": "Not Found", "detail": "Function 'x': Not found for account"}, MODEL),
    # anybody
    Said("nginx", 404, "<html>\n<head><title>404 Not Found</title></head></html>", ADDRESS),
    Said("Traefik", 404, "404 page not found\n", ADDRESS),
    Said("Kubernetes", 404, "default backend - 404", ADDRESS),
    Said("FastAPI", 404, {"detail": "Not Found"}, ADDRESS),
    Said("any", 404, {"error": {"message": "Resource not found", "code": "404"}}, MODEL),
    # What a prompt says is quoted: the code decides.
    said("any", 400, "The prompt was refused: 'I have insufficient credits.'", FILTER, code="content_filter"),
    said("any", 400, "Too long: 'my API key is invalid, insufficient funds'", CONTEXT, code="context_length_exceeded"),
    Said("Cloudflare", 403, "<!DOCTYPE html><title>Attention Required! | Cloudflare</title>", Retry()),
    Said("F5", 403, "<html><body>The requested URL was rejected. Your support ID is: 1</body></html>", Retry()),
    Said("nginx", 403, "<html><head><title>403 Forbidden</title></head></html>", KEY),
    Said("any", 407, "Proxy authentication required", KEY),
    Said("any", 405, "Method Not Allowed", CloseEndpoint("address")),
    Said("any", 307, "", CloseEndpoint("address"), ("Location: http://elsewhere.invalid/",)),
    Said("any", 429, "slow down", CloseEndpoint("wait"), ("Retry-After: 86400",)),
    Said("any", 503, "maintenance", CloseEndpoint("wait"), ("Retry-After: 86400",)),
    Said("any", 429, "slow down", Retry(), ("Retry-After: 7",)),
    Said("any", 400, "bad request", FailJob()),
    Said("any", 422, {"detail": [{"loc": ["body", "messages"], "msg": "field required"}]}, FailJob()),
    Said("any", 425, "too early", Retry()),
    Said("any", 504, "upstream timed out", Retry()),
    Said("Cloudflare", 524, "A timeout occurred", Retry()),
]

# Errors inside of a stream whose own status was 200.
STREAMED: list[tuple[object, int, Action]] = [
    ({"error": {"message": "overloaded", "code": 503}}, 503, Retry()),
    (
        {"error": {"message": "x", "code": "server_error"}, "choices": [{"delta": {}, "finish_reason": "error"}]},
        500,
        Retry(),
    ),
    ({"error": {"message": "x", "type": "overloaded_error"}}, 529, Retry()),
    ({"type": "error", "error": {"message": "x", "type": "overloaded_error"}}, 529, Retry()),
    ({"error": {"message": "x", "code": "rate_limit_exceeded"}}, 429, Retry()),
    ({"error": {"message": "x", "type": "insufficient_quota", "code": "insufficient_quota"}}, 429, QUOTA),
    ({"error": {"message": "x", "code": "context_length_exceeded"}}, 400, CONTEXT),
    ({"error": {"message": "x", "code": "content_filter"}}, 400, FILTER),
    ({"error": {"message": "x", "type": "authentication_error"}}, 401, KEY),
    ({"error": {"message": "prompt is too long: 9 > 8", "code": 400}, "choices": []}, 400, CONTEXT),
    ({"object": "error", "message": "x", "type": "BadRequestError", "code": 400}, 400, FailJob()),
    ({"error": {"message": "x", "status": "UNAVAILABLE"}}, 503, Retry()),
    ({"error": {"message": "EngineCore encountered an issue.", "type": "BadRequestError", "code": 400}}, 400, Retry()),
    # MiniMax
    ({"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, 402, QUOTA),
    ({"choices": None, "base_resp": {"status_code": 1004, "status_msg": "login fail"}}, 401, KEY),
    ({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, 429, Retry()),
    # without a member that says so
    ({"code": "Throttling", "message": "slower"}, 429, Retry()),
    ({"code": "insufficient_quota", "message": "no more"}, 429, QUOTA),
]
