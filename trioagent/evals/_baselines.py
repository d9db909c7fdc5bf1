"""Baselines that an agent is compared with: the same questions without an agent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ..memory import Vault

Baseline = Literal["agent", "full-context", "search-only"]
"""Who answers: the agent; the same model with all notes in its prompt and no tools; the best lines of a search,
without a model."""
BASELINES: tuple[Baseline, ...] = ("agent", "full-context", "search-only")

_LINES = 5
_PROMPT = """You answer questions about a person from that person's notes, which are all below. Answer in a few words.
If the notes do not say it, answer: not mentioned.

{notes}"""


def full_context_prompt(notes: Mapping[str, str]) -> str:
    """The system prompt that contains a whole memory."""
    return _PROMPT.format(notes="\n\n".join(f"# File: {path}\n{text}" for path, text in sorted(notes.items())))


def best_lines(folder: Path, question: str) -> str:
    """The texts of the lines that a search finds. Synchronous; for a worker thread."""
    found = Vault(folder).tools.search(question, _LINES)
    return "\n".join(hit.split(": ", 1)[-1] for hit in found)  # empty for a query without words
