"""Memory agents as tasks in Trio nurseries: confined code, transactional notes, batches that survive anything.

Start with `open_runtime` and `Agent`; `run_agents` and `open_runner` run many; `run_batch` runs a journaled batch.
"""

# The layers, lowest first. A module imports only from those above it (see tests/test_layers.py).
#
#   _errors, _config, _messages      types that every other module uses
#   _model_profile                   the format of results for a family of models
#   _lazy, _deprecated               names that are imported on first use; names of the last release
#   _exceptions                      exception groups
#   _network                         how model servers are reached
#   _files                           atomic writes of our own files
#   _steps, _json_steps              work proportional to foreign input, in bounded steps
#   _peers                           who is at the other end of a Unix socket
#   _descriptors                     how many files may be open, and the queue of tasks that wait for one
#   _parsed_reply, _reply_parser, _turn, _prompt    the reply protocol and the agent's turn, pure
#   _server_behaviour                what a model server's errors mean: one table
#   _retry_policy, _rates, _activity       backoff, rates, what a job is doing
#   _span_names, _tracing            OpenTelemetry's spans
#   tools                            what a block may call (also loaded by path inside the sandbox)
#   memory                           the notes on the host: leases, transactions, recovery, link graph
#   _memory_tool                     the notes for Anthropic's memory tool
#   models                           OpenAI-compatible servers over HTTP; `offline-rules`, the embedded one
#   sandbox                          where model-written code runs
#   _events, _remote, runtime        the events and the shared resources of agents
#   _driver, _event_stream, agent    one agent: a driver that pushes events
#   _outcomes, nursery_runner        many agents
#   batch                            many jobs, journaled
#   sft                              training conversations: personas, facts, verdicts
#   evals                            evaluations: suites, graders, baselines
#   cluster                          runs on more than one machine
#   export                           conversations of runs as data sets
#   rl                               episodes as token-exact trajectories
#   server                           chats, REST, an OpenAI-compatible endpoint and the page, over HTTP
#   compat                           the documented API over one Trio thread; asyncio is imported nowhere else
#   testing                          scripted models, a loopback model server
#   cli                              the only code that prints

from typing import TYPE_CHECKING

from ._lazy import lazy_names

if TYPE_CHECKING:
    from ._chat_filter import AuditRecord as AuditRecord
    from ._chat_filter import ChatFilter as ChatFilter
    from ._config import AgentConfig as AgentConfig
    from ._config import BatchConfig as BatchConfig
    from ._config import MemoryLimits as MemoryLimits
    from ._config import ModelConfig as ModelConfig
    from ._config import RateLimits as RateLimits
    from ._config import RetryPolicy as RetryPolicy
    from ._config import SandboxLimits as SandboxLimits
    from ._errors import AgentBusyError as AgentBusyError
    from ._errors import DeadlineExceededError as DeadlineExceededError
    from ._errors import EndpointHeldError as EndpointHeldError
    from ._errors import FatalError as FatalError
    from ._errors import InvalidInputError as InvalidInputError
    from ._errors import MemoryConflictError as MemoryConflictError
    from ._errors import MemoryDeadlockError as MemoryDeadlockError
    from ._errors import MemoryHistoryError as MemoryHistoryError
    from ._errors import MemoryLimitError as MemoryLimitError
    from ._errors import MemoryPathError as MemoryPathError
    from ._errors import MemoryProtectedError as MemoryProtectedError
    from ._errors import MemoryRejectedError as MemoryRejectedError
    from ._errors import MemoryStorageError as MemoryStorageError
    from ._errors import MemoryUnreadError as MemoryUnreadError
    from ._errors import ModelCertificateError as ModelCertificateError
    from ._errors import ModelConnectionError as ModelConnectionError
    from ._errors import ModelError as ModelError
    from ._errors import ModelProtocolError as ModelProtocolError
    from ._errors import ModelRefusedError as ModelRefusedError
    from ._errors import ModelStatusError as ModelStatusError
    from ._errors import RevisionNotFoundError as RevisionNotFoundError
    from ._errors import SandboxError as SandboxError
    from ._errors import SandboxUnavailableError as SandboxUnavailableError
    from ._errors import StructuredOutputError as StructuredOutputError
    from ._errors import TrioAgentError as TrioAgentError
    from ._errors import WithheldError as WithheldError
    from ._events import AgentEvent as AgentEvent
    from ._events import Answered as Answered
    from ._events import CodeResult as CodeResult
    from ._events import CodeStarted as CodeStarted
    from ._events import ContextTrimmed as ContextTrimmed
    from ._events import Replied as Replied
    from ._filter_rules import FilterRules as FilterRules
    from ._filter_rules import filter_of as filter_of
    from ._memory_tool import MemoryTool as MemoryTool
    from ._messages import AgentResponse as AgentResponse
    from ._messages import ChatMessage as ChatMessage
    from ._messages import LeftOut as LeftOut
    from ._messages import Usage as Usage
    from ._network import NetworkConfig as NetworkConfig
    from ._parsed_reply import Delta as Delta
    from ._parsed_reply import ParsedReply as ParsedReply
    from ._tracing import TracingConfig as TracingConfig
    from .agent import Agent as Agent
    from .batch import BadJobsError as BadJobsError
    from .batch import BatchReport as BatchReport
    from .batch import Job as Job
    from .batch import JobChangedError as JobChangedError
    from .batch import JournalError as JournalError
    from .batch import Progress as Progress
    from .batch import run_batch as run_batch
    from .memory import BlameLine as BlameLine
    from .memory import CommitOrigin as CommitOrigin
    from .memory import ForgottenNote as ForgottenNote
    from .memory import HistoryConfig as HistoryConfig
    from .memory import HistoryDiff as HistoryDiff
    from .memory import HistoryUpdate as HistoryUpdate
    from .memory import Knowledge as Knowledge
    from .memory import Memory as Memory
    from .memory import NoteChange as NoteChange
    from .memory import NoteContent as NoteContent
    from .memory import RevisedNote as RevisedNote
    from .memory import Revision as Revision
    from .memory import UndoLog as UndoLog
    from .memory import UndoneChanges as UndoneChanges
    from .memory import VaultPolicy as VaultPolicy
    from .models import AnswerEnd as AnswerEnd
    from .models import Completion as Completion
    from .models import Model as Model
    from .models import ReasoningDelta as ReasoningDelta
    from .models import Retrying as Retrying
    from .models import TextDelta as TextDelta
    from .models import complete as complete
    from .nursery_runner import AgentFailure as AgentFailure
    from .nursery_runner import AgentJob as AgentJob
    from .nursery_runner import AgentsFailedError as AgentsFailedError
    from .nursery_runner import JobCancelled as JobCancelled
    from .nursery_runner import JobDone as JobDone
    from .nursery_runner import JobFailed as JobFailed
    from .nursery_runner import Outcome as Outcome
    from .nursery_runner import OutcomeChannel as OutcomeChannel
    from .nursery_runner import Runner as Runner
    from .nursery_runner import open_runner as open_runner
    from .nursery_runner import run_agents as run_agents
    from .runtime import Runtime as Runtime
    from .runtime import open_runtime as open_runtime
    from .sandbox import AcceptChanges as AcceptChanges
    from .sandbox import BlockResult as BlockResult
    from .sandbox import EditChanges as EditChanges
    from .sandbox import RejectChanges as RejectChanges
    from .sandbox import ReviewPolicy as ReviewPolicy
    from .sandbox import ReviewRequest as ReviewRequest
    from .sandbox import Sandbox as Sandbox
    from .sandbox import open_sandbox as open_sandbox

# The same names once more, by module: each is imported when it is first used (PEP 562), so that `trioagent.tools`,
# which sandbox processes load, loads neither trio nor httpx.
_PLACES = {
    "_chat_filter": "AuditRecord ChatFilter",
    "_config": "AgentConfig BatchConfig MemoryLimits ModelConfig RateLimits RetryPolicy SandboxLimits",
    "_errors": (
        "AgentBusyError DeadlineExceededError EndpointHeldError FatalError InvalidInputError MemoryConflictError "
        "MemoryDeadlockError MemoryHistoryError MemoryLimitError MemoryPathError MemoryProtectedError "
        "MemoryRejectedError "
        "MemoryStorageError MemoryUnreadError ModelCertificateError "
        "ModelConnectionError ModelError ModelProtocolError ModelRefusedError ModelStatusError "
        "RevisionNotFoundError SandboxError "
        "SandboxUnavailableError StructuredOutputError TrioAgentError WithheldError"
    ),
    "_filter_rules": "FilterRules filter_of",
    "_events": "AgentEvent Answered CodeResult CodeStarted ContextTrimmed Replied",
    "_memory_tool": "MemoryTool",
    "_messages": "AgentResponse ChatMessage LeftOut Usage",
    "_network": "NetworkConfig",
    "_parsed_reply": "Delta ParsedReply",
    "_tracing": "TracingConfig",
    "agent": "Agent",
    "batch": "BadJobsError BatchReport Job JobChangedError JournalError Progress run_batch",
    "memory": (
        "BlameLine CommitOrigin ForgottenNote HistoryConfig HistoryDiff HistoryUpdate Knowledge Memory NoteChange "
        "NoteContent RevisedNote Revision UndoLog UndoneChanges VaultPolicy"
    ),
    "models": "AnswerEnd Completion Model ReasoningDelta Retrying TextDelta complete",
    "nursery_runner": (
        "AgentFailure AgentJob AgentsFailedError JobCancelled JobDone JobFailed Outcome OutcomeChannel Runner "
        "open_runner run_agents"
    ),
    "runtime": "Runtime open_runtime",
    "sandbox": "AcceptChanges BlockResult EditChanges RejectChanges ReviewPolicy ReviewRequest Sandbox open_sandbox",
}

if not TYPE_CHECKING:  # a type checker should report old names, and misspelt ones, as unknown
    __getattr__ = lazy_names(__name__, _PLACES)
    __all__ = [name for names in _PLACES.values() for name in names.split()]  # for `from trioagent import *`

    def __dir__() -> list[str]:
        return [*globals(), *__all__]


__version__ = "0.2.0.dev0"
