"""Language models: the contract, the client for OpenAI-compatible servers, and names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._deprecated import old_names
from ._base import AnswerEnd as AnswerEnd
from ._base import AnswerPart as AnswerPart
from ._base import AnswerSource as AnswerSource
from ._base import Model as Model
from ._base import ReasoningDelta as ReasoningDelta
from ._base import RequestSender as RequestSender
from ._base import Retrying as Retrying
from ._base import TextDelta as TextDelta
from ._endpoints import Available as Available
from ._endpoints import Closed as Closed
from ._endpoints import EndpointHealth as EndpointHealth
from ._endpoints import Endpoints as Endpoints
from ._endpoints import EndpointState as EndpointState
from ._endpoints import Held as Held
from ._names import OFFLINE_RULES as OFFLINE_RULES
from ._names import OPENROUTER_DEFAULT as OPENROUTER_DEFAULT
from ._names import VLLM_DEFAULT as VLLM_DEFAULT
from ._names import OfflineRules as OfflineRules
from ._names import model_config as model_config
from ._names import names_a_server as names_a_server
from ._names import same_server as same_server
from ._options import sampling_of as sampling_of
from ._options import with_options as with_options
from ._rate_limiter import RateLimiter as RateLimiter
from ._rate_limiter import RateLimiterStatistics as RateLimiterStatistics
from ._span import record_answer as record_answer
from ._span import record_retry as record_retry
from ._span import start_model_span as start_model_span
from ._structured_output import Completion as Completion
from ._structured_output import complete as complete

if TYPE_CHECKING:
    from ._http import open_model as open_model
    from ._http import open_sender as open_sender


def __getattr__(name: str) -> Any:
    """Import the HTTP client on first use: httpx takes as long to import as everything else."""
    if name in ("open_model", "open_sender"):
        from . import _http

        return getattr(_http, name)
    return old_names(__name__, stacklevel=3)(name)
