"""Memories for training, from data, and one block of code on each; then they are put back and deleted."""

import json
import os

from agent import execute_sandboxed_code
from agent.async_agent.async_engine import execute_sandboxed_code as run_in_loop
from agent.schemas import StaticMemory
from agent.settings import SANDBOX_TIMEOUT
from agent.utils import create_memory_if_not_exists, delete_memory, extract_python_code, format_results

DATA = {
    "memory_id": "memory_1",
    "user_md": "# Ada\n- lives_in: Paris\n",
    "entities": [
        {"entity_name": "Grace", "entity_file_path": "entities/grace.md", "entity_file_content": "# Grace\n"},
    ],
}
ANSWER = (
    "<think>look</think>\n<python>\n```python\nuser = read_file('user.md')\nok = delete_file('user.md')\n```\n</python>"
)

create_memory_if_not_exists("memories")
memory = StaticMemory.model_validate(DATA)
memory.instantiate("memories")
variables, error = execute_sandboxed_code(
    code=extract_python_code(ANSWER),
    timeout=SANDBOX_TIMEOUT,
    allowed_path=os.path.join("memories", memory.memory_id),
    import_module="agent.tools",
)
print(format_results(variables, error))
print(sorted(os.listdir("memories/memory_1")))
memory.reset("memories")
print(sorted(name for name in os.listdir("memories/memory_1") if not name.startswith(".")))
import asyncio  # noqa: E402

print(json.dumps(asyncio.run(run_in_loop("1 / 0", allowed_path="memories/memory_1"))))
delete_memory("memories")
print(os.path.exists("memories"))
