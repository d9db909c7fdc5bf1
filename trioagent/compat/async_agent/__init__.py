"""The documented asyncio API: `AsyncAgent`, `run_agents_concurrently`, `get_model_response`."""

from .async_agent import AsyncAgent as AsyncAgent
from .async_agent import run_agents_concurrently as run_agents_concurrently
from .async_model import get_model_response as get_model_response
