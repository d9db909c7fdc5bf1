"""The graph of notes: small ones whole, large ones by cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from trioagent._errors import InvalidInputError
from trioagent.memory import Memory
from trioagent.server._graph import Graph, GraphNode, read_graph, view


def test_links_in_both_directions_are_one_edge(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("[[b]] [[b]] [[a]] [[none]] [[p.png]]")
    (tmp_path / "b.md").write_text("[[a]]")
    (tmp_path / "c.md").write_text("alone")
    (tmp_path / "p.png").write_bytes(b"")
    assert read_graph(Memory(tmp_path)) == Graph(["a.md", "b.md", "c.md"], [(0, 1)], [1, 1, 0])


def stars(count: int, size: int) -> Graph:
    """Hubs that are linked in a chain, each with notes of its own, and as many notes without links in two folders."""
    paths = [f"{hub:03}/{number:03}.md" for hub in range(count) for number in range(size)]
    edges = [(hub * size, hub * size + number) for hub in range(count) for number in range(1, size)]
    edges += [(hub * size, (hub + 1) * size) for hub in range(count - 1)]
    degrees = [sum(number in edge for edge in edges) for number in range(len(paths))]
    alone = [f"alone/{number % 2}/{number}.md" for number in range(10)]
    return Graph([*paths, *alone], sorted(edges), [*degrees, *([0] * len(alone))])


def test_a_graph_of_few_notes_is_shown_whole() -> None:
    found = view(stars(3, 5))
    assert (len(found.nodes), found.clustered, found.total) == (25, False, 25)


def test_a_large_graph_is_shown_by_cluster() -> None:
    graph = stars(4, 10)
    found = view(graph, most_notes=20)
    assert found.clustered
    assert found.nodes == [
        *(GraphNode(f"{hub:03}/000.md", 1 if hub in (0, 3) else 2, 10) for hub in range(4)),
        GraphNode("alone/0/0.md", 0, 5),
        GraphNode("alone/1/1.md", 0, 5),
    ]
    assert found.edges == [(0, 1, 1), (1, 2, 1), (2, 3, 1)]
    inside = view(graph, "002/000.md", most_notes=20)
    assert [node.path for node in inside.nodes] == [f"002/{number:03}.md" for number in range(10)]
    assert len(inside.edges) == 9
    with pytest.raises(InvalidInputError, match="there is no cluster 'x'"):
        view(graph, "x", most_notes=20)


def test_what_is_too_much_is_counted() -> None:
    graph = stars(4, 10)
    found = view(graph, most_notes=5, most_clusters=2)
    assert (len(found.nodes), found.left_out) == (2, 30)
    inside = view(graph, "000/000.md", most_notes=5)
    assert (len(inside.nodes), inside.left_out) == (5, 5)
