"""Notes as trees of elements, from which the page builds the markup of text that a model wrote.

A tree is plain JSON: a text is a string, an element is ``[tag, attributes, *children]``. No HTML is involved:
markdown-it-py parses the text with HTML disabled, and the page creates each element from a fixed list of tags and fills
it with text nodes. So no text can become markup, a script or a request.

=================  ====================================================================================================
tag                attributes
=================  ====================================================================================================
those of `TAGS`    ``line``: the note's line where a block begins, from 1; ``start``: of an ``ol``; ``align``: of a cell
``pre``            ``language``: of a fenced block of code; its only child is the code
``note``           a link to a note: ``path``, ``heading``, ``block``; ``embed`` if the note is shown in place
``missing``        a link whose target does not exist: ``problem`` says why
``outside``        a link out of the memory: ``address``. The page shows the address and never opens it
``image``          a picture: ``address``; its only child is the alternative text
=================  ====================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from ..tools.links import Link, parse_link, unquote

Node = str | list[Any]
"""A text, or ``[tag, attributes, *children]``."""

TAGS = frozenset(
    "p h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code em strong s hr br table thead tbody tr th td".split()
)
MOST_CHARACTERS = 100_000
"""The length of a note's text that is parsed as markdown; the rest is shown as plain text."""
_MOST_BRACKETS = 300
"""In one paragraph, not counting those of ``[[Note]]``: parsing time grows with the square of their number."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")
_WIKI = re.compile(r"(!?)\[\[([^\[\]\n]+)\]\]")


class Meaning(Protocol):
    """The target of a link: a note's path or None, and what is wrong with it."""

    @property
    def target(self) -> str | None: ...

    @property
    def problem(self) -> str: ...


Resolve = Callable[[Link], Meaning]


def to_tree(text: str, resolve: Resolve, first_line: int = 1) -> list[Node]:
    """The elements of a note. Takes time in proportion to the text: call it in a worker thread.

    Args:
        text: markdown, without its front matter.
        resolve: finds the target of a link.
        first_line: the line of the note at which *text* begins.
    """
    at = len(text)
    if at > MOST_CHARACTERS:  # cut at the end of a paragraph, if there is one
        at = max(text.rfind("\n\n", 0, MOST_CHARACTERS) + 1, 0) or MOST_CHARACTERS
    builder = _TreeBuilder(resolve, first_line)
    builder.add_blocks(_PARSER.parse(text[:at]))
    if text[at:]:
        builder.nodes.append(["pre", {"line": first_line + text.count("\n", 0, at), "language": ""}, text[at:]])
    return builder.nodes


def _wiki_link(state: StateInline, silent: bool) -> bool:
    """``[[Note]]`` and ``![[Note]]``, parsed before markdown-it's own links."""
    match = _WIKI.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        token = state.push("wiki_link", "", 0)
        token.content = match[2]
        token.markup = match[1]
    state.pos = match.end()
    return True


def _read_inline(state: StateCore) -> None:
    """Parse the texts of paragraphs, headings and cells; one with too many brackets stays plain text."""
    for token in state.tokens:
        if token.type != "inline":
            continue
        token.children = []
        if _WIKI.sub("", token.content).count("[") > _MOST_BRACKETS:
            token.children = [Token("text", "", 0, content=token.content)]
        else:
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 60}).enable(["table", "strikethrough"])
    parser.disable(["html_block", "html_inline"])
    parser.core.ruler.at("inline", _read_inline)
    parser.inline.ruler.before("link", "wiki_link", _wiki_link)
    parser.validateLink = lambda url: True  # type: ignore[method-assign]  # an address is a text here, never followed
    return parser


_PARSER = _parser()


class _TreeBuilder:
    """Makes a tree from markdown-it's flat tokens: an opening and a closing one around the children."""

    def __init__(self, resolve: Resolve, first_line: int) -> None:
        self._resolve, self._first_line = resolve, first_line
        self.nodes: list[Node] = []
        self._open: list[list[Node]] = [self.nodes]

    def add_blocks(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            if token.type == "inline":
                self._add_inline(token.children or [])
            elif token.type in ("fence", "code_block"):
                language = token.info.split(maxsplit=1)[0] if token.info.split() else ""
                self._put(["pre", {**self._line(token), "language": language}, token.content])
            elif token.hidden:  # the paragraphs of a tight list: their text is put directly into the items
                continue
            elif token.nesting > 0:
                self._enter([token.tag, self._attributes(token)])
            elif token.nesting < 0:
                self._leave()
            elif token.type == "hr":
                self._put(["hr", self._line(token)])
            else:
                self._put(token.content)

    def _add_inline(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            match token.type:
                case "text" | "text_special":
                    self._put_text(token.content)
                case "softbreak":
                    self._put_text("\n")
                case "hardbreak":
                    self._put(["br", {}])
                case "code_inline":
                    self._put(["code", {}, token.content])
                case "wiki_link":
                    link = parse_link(token.content, "", token.markup == "!")
                    self._put([*self._note(link), link.alias or token.content])
                case "link_open":
                    self._enter(self._link(str(token.attrs.get("href", ""))))
                case "image":
                    self._put(["image", {"address": str(token.attrs.get("src", ""))}, _plain(token)])
                case _ if token.nesting > 0:
                    self._enter([token.tag, {}])
                case _ if token.nesting < 0:
                    self._leave()
                case _:
                    self._put_text(token.content)

    def _link(self, address: str) -> list[Any]:
        if _SCHEME.match(address):
            return ["outside", {"address": address}]
        return self._note(parse_link(unquote(address).replace("|", "\0")))

    def _note(self, link: Link) -> list[Any]:
        meaning = self._resolve(link)
        if meaning.target is None:
            return ["missing", {"problem": meaning.problem}]
        attributes: dict[str, Any] = {"path": meaning.target}
        given = {"heading": link.heading, "block": link.block, "problem": meaning.problem, "embed": link.embed}
        attributes.update({name: value for name, value in given.items() if value})
        return ["note", attributes]

    def _attributes(self, token: Token) -> dict[str, Any]:
        attributes = self._line(token) if token.tag not in ("tr", "th", "td", "thead", "tbody") else {}
        if token.tag == "ol" and "start" in token.attrs:
            attributes["start"] = int(token.attrs["start"])
        if token.tag in ("th", "td") and "style" in token.attrs:
            attributes["align"] = str(token.attrs["style"]).rpartition(":")[2]
        return attributes

    def _line(self, token: Token) -> dict[str, Any]:
        return {} if token.map is None else {"line": self._first_line + token.map[0]}

    def _enter(self, node: list[Any]) -> None:
        self._put(node)
        self._open.append(node)

    def _leave(self) -> None:
        self._open.pop()

    def _put(self, node: Node) -> None:
        self._open[-1].append(node)

    def _put_text(self, text: str) -> None:
        here = self._open[-1]
        if not text:
            return
        if len(here) > (0 if here is self.nodes else 2) and isinstance(here[-1], str):
            here[-1] += text
        else:
            here.append(text)


def _plain(token: Token) -> str:
    return "".join(child.content for child in token.children or [])
