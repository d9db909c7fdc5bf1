"""The documented API of memory agents, sync and asyncio, over one Trio thread.

Module paths are those of the package ``agent`` that existing programs import: ``trioagent.compat.agent``,
``trioagent.compat.async_agent`` and so on. `install`, or ``python -m trioagent.compat script.py``, makes them
importable as ``agent`` too. Importing this starts nothing; the thread starts at the first call and is shared.
"""

from .._errors import BridgeClosedError as BridgeClosedError
from .._errors import CallCancelledError as CallCancelledError
from .._errors import WrongContextError as WrongContextError
from ._install import install as install
from ._install import uninstall as uninstall
from ._interop import shutdown as shutdown
from .agent import Agent as Agent
from .async_agent import AsyncAgent as AsyncAgent
from .async_agent import run_agents_concurrently as run_agents_concurrently
from .schemas import AgentResponse as AgentResponse
from .schemas import ChatMessage as ChatMessage
from .schemas import Role as Role
