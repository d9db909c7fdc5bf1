"""What gates find that is allowed: listed with a reason each, and the list has nothing that is not there any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def compare(title: str, found: Iterable[tuple[str, int]], allowed: Mapping[str, str], *, problem: str) -> bool:
    """Print how what was *found*, each with its line, differs from what is *allowed*; returns whether it does.

    Args:
        problem: what is wrong with something that is not allowed, and what to do.
    """
    lines = dict(found)
    for key in sorted(lines.keys() - allowed.keys()):
        print(f"{key} (line {lines[key]}) {problem}")
    for key in sorted(allowed.keys() - lines.keys()):
        print(f"{key} is allowed, and not there any more")
    print(f"{title}: {len(lines)}, {len(lines.keys() - allowed.keys())} of them without a reason")
    return bool(lines.keys() ^ allowed.keys())
