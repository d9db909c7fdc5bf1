"""A trioagent agent as a harness: a program that plays one task over notes in the runtime's folder."""

from __future__ import annotations

import json
import sys

import verifiers.v1 as vf

TASK, RESULT = "task.json", "result.json"


class MemoryHarnessConfig(vf.HarnessConfig):
    """Under ``--env.agent.harness.*``."""

    max_tool_turns: int = 8
    """How often the agent may run code for one message."""
    python: str = ""
    """The Python that has trioagent, in the runtime; "" for the one that runs verifiers."""


class MemoryHarness(vf.Harness[MemoryHarnessConfig]):
    """Runs `trioagent_memory.play` in the runtime."""

    APPENDS_SYSTEM_PROMPT = True
    NEEDS_CONTAINER = False  # the agent's code runs in trioagent's own sandbox

    async def launch(
        self,
        ctx: vf.ModelContext,
        trace: vf.Trace,
        runtime: vf.Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
    ) -> vf.ProgramResult:
        """See `verifiers.v1.Harness.launch`."""
        system_prompt, prompt = self.resolve_prompt(data)
        task = {
            "notes": getattr(data, "notes", {}),
            "told": getattr(data, "told", []),
            "messages": getattr(data, "messages", [prompt]),
            "system_prompt": system_prompt,
            "max_tool_turns": self.config.max_tool_turns,
        }
        await runtime.write(TASK, json.dumps(task).encode())
        env = {
            **self.config.resolved_env,
            "TRIOAGENT_BASE_URL": endpoint,
            "TRIOAGENT_MODEL": ctx.model,
            "TRIOAGENT_API_KEY": secret,
        }
        return await runtime.run_program([self.config.python or sys.executable, "-m", "trioagent_memory.play"], env)
