"""The built-in system prompt: protocol, notes and tools, for a model that has not been trained on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache

from ._config import VaultPolicy
from ._model_profile import DEFAULT, ModelProfile

SYSTEM_PROMPT = """\
You are an assistant with a memory of your own: a folder of linked markdown notes that only you read and write. It \
outlives this conversation. What you do not write down, you will not know next time.

# How to answer
Every answer is one of these two forms, with nothing outside the tags:

1. To look something up or to write something down:
<think>
what you know, what is missing, what you will do
</think>
<python>
code
</python>

2. To answer the user:
<think>
what you found
</think>
<python></python>
<reply>
your words for the user
</reply>

After form 1 the code is run and you get back its variables and its error, as
<result>
({'variable': 'value'}, 'error')
</result>
Then answer again, in either form. Never write a <result> yourself. You have a limited number of code turns for each \
message, so do several things in one block, and reply as soon as you can.

# Your notes
- `user.md`: what you know of the user: facts as `- key: value` lines, and links to other notes.
- `entities/<name>.md`: one note for each person, place, organisation or thing, named in lower case with underscores.
- Link notes with `[[entities/name]]`, and say how they are related: `- sister: [[entities/grace]]`.
Begin by reading `user.md` (it may not exist yet). Follow links to find what a question needs. Write down every \
lasting fact that the user tells you, correct notes that turn out wrong, and do not store what is already there.

# Your tools
The code is Python, run in a sandbox that sees only your notes: no network, no other programs. These are there:
- create_file(file_path, content="") -> bool: makes or replaces a note, and its folders
- update_file(file_path, old_content, new_content) -> True, or an error text: replaces one passage of a note
- write_to_file(file_path, diff) -> bool: applies a unified diff
- read_file(file_path) -> str
- delete_file(file_path) -> bool
- check_if_file_exists(file_path) -> bool, check_if_dir_exists(dir_path) -> bool
- create_dir(dir_path) -> bool
- list_files(dir_path=None) -> list of paths
- get_size(path="") -> bytes
- go_to_link(link) -> str: the note, heading or block that a [[link]] means
- search(query, limit=10) -> the best matching lines of all notes, as "path:line: text"
- backlinks(path) -> the notes that link to this one
Assign what you want to see to a variable: `user = read_file("user.md")`. A failed call gives a text that begins with \
"Error" and counts as false. A block is a transaction: if it raises an error, none of its changes are kept.
"""

_RESULT = DEFAULT.format_result({"variable": "'value'"}, "error")

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")  # whatever the locale

_VAULT = """\
The folder is a person's own vault. The notes of your own lie in `{folder}/`:
"""
_OTHERS = """\
All other notes are the person's. Search them and follow their links for what a question needs, and change one only if \
you are asked to.
"""


def built_in_prompt(profile: ModelProfile = DEFAULT) -> str:
    """`SYSTEM_PROMPT`, with the result in the format of *profile*."""
    shown = _RESULT if profile is DEFAULT else profile.format_result({"variable": "'value'"}, "error")
    return SYSTEM_PROMPT.replace(_RESULT, shown)


def system_prompt(
    replacement: str | None = None,
    append: str | None = None,
    policy: VaultPolicy | None = None,
    *,
    profile: ModelProfile = DEFAULT,
) -> str:
    """The prompt of an agent: the built-in one or its *replacement*, the rules of *policy*, and *append* at the end."""
    policy = VaultPolicy() if policy is None else policy
    if replacement is None:
        prompt = _built_in(policy.agent_folder, profile)
        rules = _rules(policy, folder="")
    else:
        prompt, rules = replacement, _rules(policy, folder=policy.agent_folder)
    if rules:
        prompt = f"{prompt.rstrip()}\n\n# What you may touch\n{rules}\n"
    return prompt if append is None else f"{prompt.rstrip()}\n\n{append.strip()}\n"


@lru_cache(maxsize=16)
def _built_in(folder: str, profile: ModelProfile) -> str:
    text = built_in_prompt(profile)
    if not folder:
        return text
    text = text.replace("user.md", f"{folder}/user.md").replace("entities/", f"{folder}/entities/")
    text = text.replace("that only you read and write", "that a person reads and writes, too")
    text = text.replace("# Your notes\n", f"# Your notes\n{_VAULT.format(folder=folder)}")
    return text.replace("\n# Your tools\n", f"{_OTHERS}\n# Your tools\n")


def _rules(policy: VaultPolicy, *, folder: str) -> str:
    """What an agent has to know about its policy; ``""`` if that is the default."""
    lines = [f"The notes of your own go into `{folder}/`."] if folder else []
    if policy.readable != ("**",):
        lines.append(f"You are shown only notes that match {_listed(policy.readable)}.")
    if policy.read_only:
        lines.append("You can read the notes, and change none of them.")
    elif policy.writable != ("**",):
        lines.append(f"You may write only notes that match {_listed(policy.writable)}.")
    if policy.agent_folder and not policy.read_only and lines and not folder:
        lines.append(f"What is in `{policy.agent_folder}/` is yours to read and write.")
    return "\n".join(lines)


def _listed(globs: Sequence[str]) -> str:
    wanted = [f"`{glob}`" for glob in globs if not glob.startswith("!")] or ["anything"]
    unwanted = [f"`{glob[1:]}`" for glob in globs if glob.startswith("!")]
    return " or ".join(wanted) + (f", but not {' or '.join(unwanted)}" if unwanted else "")


def said_date(setting: str, *, is_own_prompt: bool, today: str) -> str:
    """The date for an agent's prompt; "" for none.

    Args:
        setting: see `AgentConfig.date`.
        is_own_prompt: the built-in prompt was replaced; its author decides what it contains.
        today: today's date.
    """
    match setting:
        case "none":
            return ""
        case "auto":
            return "" if is_own_prompt else today
        case "today":
            return today
    return setting


def date_and_zone(now: datetime) -> str:
    """*now*, which has a time zone, formatted for prompts: ``Sunday, 2026-11-29 (time zone UTC+01:00, CET)``."""
    offset, name = f"UTC{now.isoformat()[-6:]}" if now.utcoffset() else "UTC", now.tzname() or ""
    zone = offset if name[:3] in ("", "UTC") or name[0] in "+-" else f"{offset}, {name}"
    return f"{_DAYS[now.weekday()]}, {now.date().isoformat()} (time zone {zone})"


def with_date(prompt: str, date: str) -> str:
    """*prompt* with the date at its end, so that the rest stays the same for a server's prefix cache."""
    return f"{prompt.rstrip()}\n\nToday is {date}.\n" if date else prompt


def with_host_tools(prompt: str, names: Iterable[str]) -> str:
    """*prompt*, with the program's own functions listed."""
    tools = ", ".join(f"{name}(…)" for name in sorted(names))
    return f"{prompt}Also, for this conversation: {tools}.\n" if tools else prompt
