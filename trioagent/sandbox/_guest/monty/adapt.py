"""Adapts a block's code for Monty: what the other tiers do by classes and predefined names is written into the code.

Monty has no subclasses of ``str`` and ``list``, and calls no method for an object's truth value. So the special
behaviour of a tool's error text, which is false, and of a listing, which is also a text (see ``tools``), is provided by
calls that are put around conditions, around ``in``, and around the object of a string method.
"""

from __future__ import annotations

import ast
import re
import warnings

from ..ready import CLASS_METHODS, FULL_MODULES, MEMBERS, MODULES

TRUTH, TEXT, IN = "__truth__", "__text__", "__in__"
_KNOWN = (ast.Compare, ast.Constant, ast.JoinedStr, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.ListComp, ast.Lambda)
_LACKING = {"decimal", "fractions", "glob", "io", "statistics", "string", "textwrap", "uuid"}  # in Monty 1.4.0
_READY = ({*MODULES, *FULL_MODULES} - _LACKING) | MEMBERS.keys()
_TEXT_METHODS = frozenset(name for name in dir(str) if name[0] != "_" and not hasattr(list, name))
_IN = re.compile(rb"[ \t]+(not[ \t]+)?in[ \t]+")

_Edit = tuple[int, int, int, tuple[int, int, int], bytes]  # line, columns from and to, order at one place, new text


def adapted(code: str) -> str:
    """*code* with ``if x`` as ``if __truth__(x)``, and so on; line numbers do not change.

    Code that this Python cannot parse is left unchanged: Monty will report the error.
    """
    tree = _parsed(code)
    if tree is None:
        return code
    # Line ends as the parser counts them: a form feed or U+2028 does not end a line.
    lines = [line.encode() for line in code.split("\n")]
    edits: list[_Edit] = []
    for test in _conditions(tree):
        edits += _call(TRUTH, test)
    if "list_files" in code:
        for node in _walked(tree):
            match node:
                case ast.Attribute(value=value, attr=attr) if attr in _TEXT_METHODS:
                    edits += _call(TEXT, value)
                case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()], comparators=[right]):
                    edits += _membership(left, right, lines)
    for line, start, end, _, text in sorted(edits, reverse=True):
        old = lines[line - 1]
        lines[line - 1] = old[:start] + text + old[end:]
    return b"\n".join(lines).decode()


def bare_imports(code: str) -> list[str]:
    """The imports that *code* lacks."""
    tree = _parsed(code)
    if tree is None:
        return []
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    wanted = {node.id for node in names if isinstance(node.ctx, ast.Load)} & _READY
    wanted -= {node.id for node in names if not isinstance(node.ctx, ast.Load)} | set(_bound(tree))
    imports = []
    for name in sorted(wanted):
        if name in MEMBERS:
            imports.append(f"from {MEMBERS[name]} import {name}")
        elif name == "datetime" and _means_the_class(tree):
            imports.append("from datetime import datetime")
        else:
            imports.append(f"import {name}")
    return imports


def _parsed(code: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _bound(tree: ast.AST) -> list[str]:
    """Names that imports, functions, classes and parameters bind."""
    names = []
    for node in ast.walk(tree):
        match node:
            case ast.alias():
                names.append((node.asname or node.name).partition(".")[0])
            case ast.FunctionDef() | ast.ClassDef() | ast.AsyncFunctionDef():
                names.append(node.name)
            case ast.arg():
                names.append(node.arg)
    return names


def _means_the_class(tree: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in CLASS_METHODS
        and isinstance(node.value, ast.Name)
        and node.value.id == "datetime"
        for node in ast.walk(tree)
    )


def _walked(tree: ast.AST) -> list[ast.AST]:
    """All nodes except those inside of f-strings, whose positions are wrong in this Python."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.JoinedStr):
            found.append(node)
            waiting.extend(ast.iter_child_nodes(node))
    return found


def _conditions(tree: ast.AST) -> list[ast.expr]:
    found: list[ast.expr] = []
    for node in _walked(tree):
        match node:
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) | ast.Assert(test=test):
                found.append(test)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                found.append(operand)
            case ast.BoolOp(values=values):
                found += values[:-1]
            case ast.match_case(guard=ast.expr() as guard):
                found.append(guard)
            case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[ast.Constant(value=False)]):
                found.append(left)
            case ast.comprehension(ifs=tests):
                found += tests
            case ast.Call(func=ast.Name(id="bool"), args=[argument]) if not isinstance(argument, ast.Starred):
                found.append(argument)
    return [
        test for test in found if not (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not))
        and not isinstance(test, _KNOWN)
    ]  # fmt: skip


def _call(name: str, argument: ast.expr) -> list[_Edit]:
    """Put a call of *name* around *argument*."""
    span = _span(argument)
    if span is None:
        return []
    line, start, end_line, end = span
    # Of calls that begin at the same position, the one that ends last encloses the others.
    return [
        (line, start, start, (-end_line, -end, len(name)), f"{name}(".encode()),
        (end_line, end, end, (0, 0, 0), b")"),
    ]


def _membership(left: ast.expr, right: ast.expr, lines: list[bytes]) -> list[_Edit]:
    """``left in right`` as a call, if only the operator is between the two."""
    first, second = _span(left), _span(right)
    if first is None or second is None or first[2] != second[0]:
        return []
    between = _IN.fullmatch(lines[first[2] - 1], first[3], second[1])
    if between is None:
        return []
    name, close = (f"(not {IN}(", b"))") if between[1] else (f"{IN}(", b")")
    return [
        (first[0], first[1], first[1], (-second[2], -second[3], 0), name.encode()),
        (first[2], first[3], second[1], (0, 0, 1), b", "),
        (second[2], second[3], second[3], (0, 0, 2), close),
    ]


def _span(node: ast.expr) -> tuple[int, int, int, int] | None:
    if isinstance(node, ast.GeneratorExp) or node.end_lineno is None or node.end_col_offset is None:
        return None
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset
