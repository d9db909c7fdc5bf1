"""The documented asyncio API: agents, many at once, requests to models, and code in the sandbox."""

from .async_agent import AsyncAgent as AsyncAgent
from .async_agent import run_agents_concurrently as run_agents_concurrently
from .async_engine import execute_sandboxed_code as execute_sandboxed_code
from .async_model import get_model_response as get_model_response
