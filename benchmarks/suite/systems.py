"""The systems that are compared: how each is started, and up to how many agents it makes sense."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """One line of the table.

    Attributes:
        name: what it is called.
        what: what is measured, in a sentence for readers.
        driver: the module below ``drivers``.
        style: how the model must answer it; see :func:`.episode.answers`.
        variant: for a driver that has several.
        pins: the peer's file below ``pins``, or "" for a driver that runs in the suite's own interpreter.
        packages: whose versions are reported.
        most: more agents than this are not tried.
        why: the reason for *most*.
        mib: what another agent needs at its peak, if that is so much that it can exhaust a machine.
        quick: more agents than this are left to ``--full``.
        own: ours; it gets no ratio of its own.
    """

    name: str
    what: str
    driver: str
    style: str
    variant: str = ""
    pins: str = ""
    packages: tuple[str, ...] = ()
    most: int = 100_000
    why: str = ""
    mib: float = 0.0
    quick: int = 1000
    own: bool = False


_THREADS = "a thread an agent: more are beyond what many machines allow a process"

SYSTEMS = [
    System(
        "trioagent",
        "each block in a confined child, its notes in one transaction",
        "trioagent_driver",
        "tags",
        packages=("trio", "httpx"),
        quick=5000,
        own=True,
    ),
    System(
        "trioagent-answers",
        "three answers of the model and no block: the model's side alone",
        "trioagent_driver",
        "reply",
        variant="answers",
        packages=("trio", "httpx"),
        own=True,
    ),
    System(
        "asyncio",
        "minimal agent: a client an agent, a fresh interpreter of its own package a block; not confined",
        "asyncio_driver",
        "tags",
        packages=("httpx",),
        most=100,
        why="every agent's interpreter runs at once, at some 30 MiB and 0.3 s of CPU a block",
        mib=30,
        quick=10,
    ),
    System(
        "asyncio-lean",
        "the same with a block's interpreter that imports nothing but the standard library",
        "asyncio_driver",
        "tags",
        variant="lean",
        packages=("httpx",),
        most=1000,
        why="a client and an interpreter of its own for every agent at once",
        mib=8,
        quick=100,
    ),
    System(
        "pydantic-ai",
        "tools in the process, one client",
        "pydantic_ai_driver",
        "tools",
        pins="pydantic-ai",
        packages=("pydantic-ai-slim", "openai", "httpx2"),
    ),
    System(
        "openai-agents",
        "tools in the process, one client, tracing off",
        "openai_agents_driver",
        "tools",
        pins="openai-agents",
        packages=("openai-agents", "openai", "httpx2"),
    ),
    System(
        "langgraph",
        "tools in the process, one client",
        "langgraph_driver",
        "tools",
        pins="langgraph",
        packages=("langgraph", "langchain-core", "langchain-openai", "openai", "httpx2"),
    ),
    System(
        "smolagents",
        "tools in the process, a thread an agent, one client",
        "smolagents_driver",
        "tools-final",
        pins="smolagents",
        packages=("smolagents", "openai", "httpx2"),
        most=1000,
        why=_THREADS,
    ),
    System(
        "smolagents-code",
        "code in its own interpreter of Python in the process, a thread an agent, one client",
        "smolagents_driver",
        "code",
        variant="code",
        pins="smolagents",
        packages=("smolagents", "openai", "httpx2"),
        most=1000,
        why=_THREADS,
        quick=100,
    ),
]
NAMES = [system.name for system in SYSTEMS]


def by_name(name: str) -> System:
    """One system.

    Raises:
        ValueError: there is none of this name.
    """
    for system in SYSTEMS:
        if system.name == name:
            return system
    raise ValueError(f"there is no system {name!r}; there are {', '.join(NAMES)}")
