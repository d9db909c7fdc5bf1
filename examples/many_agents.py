"""Many agents: all or nothing with run_agents, each for itself with open_runner."""

from collections.abc import Iterator

import trio

import trioagent


def jobs(count: int) -> Iterator[trioagent.AgentJob]:
    """Made one by one as places get free, so there may be millions."""
    for number in range(count):
        yield trioagent.AgentJob(
            key=f"person-{number}", memory_path=f"memories/person_{number}", message=f"I am {20 + number} years old."
        )


async def main() -> None:
    async with trioagent.open_runtime(model="offline-rules") as runtime:
        agents = [trioagent.Agent(runtime, memory_path=f"memories/{name}") for name in ("ada", "bo", "cy")]
        messages = ["I live in Rome.", "I live in Oslo.", "I live in Lima."]
        for response in await trioagent.run_agents(agents, messages, max_concurrent=2):
            print(response.stop_reason, response.blocks_saved)

        async with trioagent.open_runner(runtime, max_concurrent=10) as runner:
            async for outcome in runner.run_agents(jobs(20)):
                match outcome:
                    case trioagent.JobDone(key, response):
                        print(key, "saved", response.blocks_saved)
                    case trioagent.JobFailed(key, error):
                        print(key, "failed:", error)


trio.run(main)
