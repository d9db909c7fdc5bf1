"""All names in our spans: OpenTelemetry's conventions for generative AI, and ours under ``trioagent.``.

The conventions are those of https://github.com/open-telemetry/semantic-conventions-genai, release 0.1.0, with
``error.type`` and ``server.*`` of the general conventions 1.45. ``gen_ai`` is not stable yet: if a release renames
something, only this module has to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SCOPE: Final = "trioagent"  # the instrumentation scope
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.45.0"

# Operations: the value of `OPERATION`, and the first word of a span's name.
OPERATION: Final = "gen_ai.operation.name"
CHAT: Final = "chat"
INVOKE_AGENT: Final = "invoke_agent"
INVOKE_WORKFLOW: Final = "invoke_workflow"
EXECUTE_TOOL: Final = "execute_tool"

# Attributes of the conventions.
AGENT_NAME: Final = "gen_ai.agent.name"
CONVERSATION: Final = "gen_ai.conversation.id"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_OPTIONS: Final[Mapping[str, str]] = {  # by its name in the request
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "max_tokens": "gen_ai.request.max_tokens",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "temperature": "gen_ai.request.temperature",
    "top_k": "gen_ai.request.top_k",
    "top_p": "gen_ai.request.top_p",
}
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
ERROR_TYPE: Final = "error.type"
OTHER_ERROR: Final = "_OTHER"  # a value of it, if nothing better is known
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

# Attributes of the conventions that contain message content: on request only.
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"

# Values of `PROVIDER`: that of the conventions if there is one for a server. Any other server with OpenAI's
# protocol counts as "openai", which says how its telemetry is to be read.
PROVIDERS: Final[Mapping[str, str]] = {  # by host
    "api.anthropic.com": "anthropic",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.moonshot.ai": "moonshot_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "openrouter.ai": "openrouter",
}
OPENAI: Final = "openai"
EMBEDDED: Final = "trioagent"  # a model in this process

# Attributes of a block, which counts as a tool.
PYTHON: Final = "python"
FUNCTION: Final = "function"

# Our own spans: what a worker of a cluster does for a span of its driver.
WORKER_REQUEST: Final = "trioagent.worker.request"
WORKER_BLOCK: Final = "trioagent.worker.block"

# Our own attributes.
RUN_ID: Final = "trioagent.run.id"
RUN_STOPPED: Final = "trioagent.run.stopped"
RUN_JOBS: Final = "trioagent.run.jobs"  # with .done, .failed, .left, .skipped
JOB_ID: Final = "trioagent.job.id"
MEMORY: Final = "trioagent.memory"
TURNS: Final = "trioagent.turns"
STOP_REASON: Final = "trioagent.stop_reason"
SAVED: Final = "trioagent.block.saved"
TIER: Final = "trioagent.sandbox.tier"
USAGE_ESTIMATED: Final = "trioagent.usage.estimated"
CANCELLED: Final = "trioagent.cancelled"
ATTEMPT: Final = "trioagent.attempt"
DELAY: Final = "trioagent.delay"
NOTES: Final = "trioagent.notes"
WORKER: Final = "trioagent.worker"  # of a cluster: its machine and its process there
HELD: Final = "trioagent.held"  # what the wait is for: "server", "refusal" or "disk"

# Events.
LEASE: Final = "lease"
COMMIT: Final = "commit"
CONFLICT: Final = "conflict"
RETRY: Final = "retry"
HOLD: Final = "hold"
RESUME: Final = "resume"
