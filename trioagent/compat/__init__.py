"""The documented API of memory agents, sync and asyncio, over one Trio thread.

Its modules have the paths of the package ``agent`` that existing programs import: ``trioagent.compat.agent``,
``trioagent.compat.async_agent`` and so on. `install`, or ``python -m trioagent.compat script.py``, makes them
importable as ``agent`` too. Importing this package starts nothing; the thread starts at the first call and is shared.
"""

from ._patched import check_not_patched

check_not_patched()  # before Trio is imported, whose import fails under eventlet with an unclear error

from .._errors import BridgeClosedError as BridgeClosedError  # noqa: E402
from .._errors import CallCancelledError as CallCancelledError  # noqa: E402
from .._errors import WrongContextError as WrongContextError  # noqa: E402
from ._install import install as install  # noqa: E402
from ._install import uninstall as uninstall  # noqa: E402
from ._interop import aclose as aclose  # noqa: E402
from ._interop import shutdown as shutdown  # noqa: E402
from ._lifespan import Health as Health  # noqa: E402
from ._lifespan import configure as configure  # noqa: E402
from ._lifespan import health as health  # noqa: E402
from ._lifespan import start as start  # noqa: E402
from .agent import Agent as Agent  # noqa: E402
from .async_agent import AsyncAgent as AsyncAgent  # noqa: E402
from .async_agent import run_agents_concurrently as run_agents_concurrently  # noqa: E402
from .engine import execute_sandboxed_code as execute_sandboxed_code  # noqa: E402
from .schemas import AgentResponse as AgentResponse  # noqa: E402
from .schemas import ChatMessage as ChatMessage  # noqa: E402
from .schemas import Role as Role  # noqa: E402
