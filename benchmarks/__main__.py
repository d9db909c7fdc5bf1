"""All benchmarks, one after the other: ``make bench``."""

from __future__ import annotations

from . import many_agents, one_agent

if __name__ == "__main__":
    one_agent.main()
    many_agents.main([])
