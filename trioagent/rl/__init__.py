"""Whole episodes as token-exact trajectories, to train agents with reinforcement learning.

Rendering the message history with the template again does not reproduce the generated ids, and closing a stream early
loses its last tokens. So the ids that a server returns are appended unchanged, only text from the environment is
tokenised, and the server itself stops at the closing tags.
"""

from __future__ import annotations

from ._environment import MemoryEnv as MemoryEnv
from ._recorded import RecordedTokens as RecordedTokens
from ._rewards import AnswerReward as AnswerReward
from ._rewards import FormatReward as FormatReward
from ._rewards import LengthReward as LengthReward
from ._rewards import NotesReward as NotesReward
from ._rewards import Reward as Reward
from ._samples import PrefixNotProvenError as PrefixNotProvenError
from ._samples import TextTokenizer as TextTokenizer
from ._samples import join_samples as join_samples
from ._sglang import SglangServer as SglangServer
from ._sglang import open_sglang_server as open_sglang_server
from ._tokens import LlamaServer as LlamaServer
from ._tokens import TokenCompletion as TokenCompletion
from ._tokens import TokenIdsMissingError as TokenIdsMissingError
from ._tokens import TokenModel as TokenModel
from ._tokens import TokenServer as TokenServer
from ._tokens import TokenServerError as TokenServerError
from ._tokens import open_llama_server as open_llama_server
from ._trajectory import TokenSegment as TokenSegment
from ._trajectory import Trajectory as Trajectory
from ._trajectory import TurnSample as TurnSample
from ._vllm import VllmServer as VllmServer
from ._vllm import open_vllm_server as open_vllm_server
