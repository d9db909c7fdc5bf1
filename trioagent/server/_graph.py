"""The graph of a memory's notes and links; its clusters, if it is too large to draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from .._errors import InvalidInputError
from ..memory import Memory
from ._memories import vault_of

MOST_NOTES = 2_000
MOST_CLUSTERS = 300
_ROUNDS = 8


@attrs.frozen
class Graph:
    """Notes and the links between them, each linked pair once.

    Attributes:
        paths: sorted.
        edges: pairs of positions in *paths*, the lower one first.
        degrees: the number of notes that each note is linked with.
    """

    paths: Sequence[str]
    edges: Sequence[tuple[int, int]]
    degrees: Sequence[int]


@attrs.frozen
class GraphNode:
    """A note or a cluster of notes.

    Attributes:
        path: the path of the note; for a cluster the path of the note that it is named after.
        links: the number of linked notes; for a cluster the number of links that leave it.
        notes: the number of notes in the cluster; 1 for a note.
    """

    path: str
    links: int
    notes: int


@attrs.frozen(kw_only=True)
class GraphView:
    """The part of a graph that is drawn.

    Attributes:
        total: notes in the memory.
        clustered: the nodes are clusters; each can be requested by its name.
        cluster: the requested cluster, or "".
        edges: two positions in *nodes*, and the number of links between them.
        left_out: notes that are in no node.
    """

    total: int
    clustered: bool
    nodes: Sequence[GraphNode]
    edges: Sequence[tuple[int, int, int]]
    cluster: str = ""
    left_out: int = 0


def read_graph(memory: Memory) -> Graph:
    """Read the links of all notes. Takes time in proportion to the memory: call it in a worker thread."""
    vault = vault_of(memory)
    paths = [path for path in vault.sizes() if path.endswith(".md")]
    numbers = {path: number for number, path in enumerate(paths)}
    edges: set[tuple[int, int]] = set()
    for source, path in enumerate(paths):
        for out in vault.links(path):
            target = numbers.get(out.target or "", source)
            if target != source:
                edges.add((min(source, target), max(source, target)))
    degrees = Counter(number for edge in edges for number in edge)
    return Graph(paths, sorted(edges), [degrees[number] for number in range(len(paths))])


def view(
    graph: Graph, cluster: str = "", *, most_notes: int = MOST_NOTES, most_clusters: int = MOST_CLUSTERS
) -> GraphView:
    """The notes of a graph, or its clusters where there are many, or the notes of one of these.

    Args:
        graph: the whole graph.
        cluster: the name of one of its clusters; "" for all.
        most_notes: the most notes that are shown individually; above that, clusters are shown.
        most_clusters: the most clusters that are shown, the largest ones.

    Raises:
        InvalidInputError: there is no cluster of this name.
    """
    if len(graph.paths) <= most_notes and not cluster:
        return _notes(graph, range(len(graph.paths)))
    labels = _clusters(graph)
    names = {label: graph.paths[label] for label in set(labels)}
    if not cluster:
        return _overview(graph, labels, names, most_clusters)
    chosen = next((label for label, name in names.items() if name == cluster), None)
    if chosen is None:
        raise InvalidInputError("cluster", f"there is no cluster {cluster!r:.200}; the graph without it lists them all")
    inside = [number for number, label in enumerate(labels) if label == chosen]
    inside.sort(key=lambda number: (-graph.degrees[number], number))
    found = _notes(graph, sorted(inside[:most_notes]))
    return attrs.evolve(found, cluster=cluster, left_out=max(0, len(inside) - most_notes))


def _notes(graph: Graph, numbers: Sequence[int]) -> GraphView:
    places = {number: place for place, number in enumerate(numbers)}
    return GraphView(
        total=len(graph.paths),
        clustered=False,
        nodes=[GraphNode(graph.paths[number], graph.degrees[number], 1) for number in numbers],
        edges=[(places[a], places[b], 1) for a, b in graph.edges if a in places and b in places],
    )


def _overview(graph: Graph, labels: Sequence[int], names: Mapping[int, str], most: int) -> GraphView:
    """The largest clusters, and the number of links between them."""
    sizes = Counter(labels)
    largest = sorted(sizes, key=lambda label: (-sizes[label], label))[:most]
    places = {label: place for place, label in enumerate(largest)}
    between: Counter[tuple[int, int]] = Counter()
    for a, b in graph.edges:
        ends = [places[labels[number]] for number in (a, b) if labels[number] in places]
        if len(ends) == 2 and ends[0] != ends[1]:
            between[min(ends), max(ends)] += 1
    outside: Counter[int] = Counter()
    for (a, b), weight in between.items():
        outside[a] += weight
        outside[b] += weight
    return GraphView(
        total=len(graph.paths),
        clustered=True,
        nodes=[GraphNode(names[label], outside[place], sizes[label]) for place, label in enumerate(largest)],
        edges=[(a, b, weight) for (a, b), weight in sorted(between.items())],
        left_out=len(graph.paths) - sum(sizes[label] for label in largest),
    )


def _clusters(graph: Graph) -> Sequence[int]:
    """For each note, the number of the note that its cluster is named after.

    Each note joins the cluster of most of its neighbours, in a few rounds (label propagation). Notes without links form
    one cluster per folder. The result is deterministic.
    """
    near: list[list[int]] = [[] for _ in graph.paths]
    for a, b in graph.edges:
        near[a].append(b)
        near[b].append(a)
    labels = _by_folder(graph)
    # Notes with few links first: they gather around the hubs before the hubs join a cluster themselves.
    order = sorted(range(len(labels)), key=lambda number: (graph.degrees[number], number))
    for _ in range(_ROUNDS):
        changed = False
        for number in order:
            if not near[number]:
                continue
            votes = Counter(labels[other] for other in near[number])
            most = max(votes.values())
            if votes[labels[number]] < most:
                labels[number] = min(label for label, count in votes.items() if count == most)
                changed = True
        if not changed:
            break
    return _named_after_hubs(graph, labels)


def _by_folder(graph: Graph) -> list[int]:
    """Each linked note starts as its own cluster; notes without links form one cluster per folder."""
    first: dict[str, int] = {}
    return [
        number if graph.degrees[number] else first.setdefault(path.rpartition("/")[0], number)
        for number, path in enumerate(graph.paths)
    ]


def _named_after_hubs(graph: Graph, labels: Sequence[int]) -> Sequence[int]:
    hubs: dict[int, int] = {}
    for number, label in enumerate(labels):
        hub = hubs.setdefault(label, number)
        if graph.degrees[number] > graph.degrees[hub]:
            hubs[label] = number
    return [hubs[label] for label in labels]
