"""Let a tool's error text count as false in the block's conditions, as it does in the other tiers.

There such a text is a string that says it is false. Monty has no subclasses of ``str`` and asks no instance for its
truth, so each condition of the code is wrapped in a call that does.
"""

from __future__ import annotations

import ast
import warnings

TRUTH = "__truth__"
_KNOWN = (ast.Compare, ast.Constant, ast.JoinedStr, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.ListComp, ast.Lambda)


def with_conditions(code: str) -> str:
    """*code* with ``if x`` as ``if __truth__(x)``, and so on; its lines stay where they are.

    Code that this Python cannot parse is left as it is: whatever is wrong with it, Monty will say.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
        spans = {span for test in _conditions(tree) if (span := _span(test)) is not None}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
    # Line ends as the parser counts them: a form feed or U+2028 ends no line.
    lines = [line.encode() for line in code.split("\n")]
    marks: list[tuple[int, int, int, bytes]] = []
    for start_line, start, end_line, end in spans:
        marks.append((end_line, end, 0, b")"))
        marks.append((start_line, start, 1, TRUTH.encode() + b"("))
    for line, column, _, text in sorted(marks, reverse=True, key=lambda mark: mark[:3]):
        old = lines[line - 1]
        lines[line - 1] = old[:column] + text + old[column:]
    return b"\n".join(lines).decode()


def _conditions(tree: ast.AST) -> list[ast.expr]:
    found: list[ast.expr] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.JoinedStr():
                continue  # this Python has no true positions inside of f-strings
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) | ast.Assert(test=test):
                found.append(test)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                found.append(operand)
            case ast.BoolOp(values=values):
                found += values[:-1]
            case ast.match_case(guard=ast.expr() as guard):
                found.append(guard)
            case ast.comprehension(ifs=tests):
                found += tests
            case ast.Call(func=ast.Name(id="bool"), args=[argument]) if not isinstance(argument, ast.Starred):
                found.append(argument)
        waiting.extend(ast.iter_child_nodes(node))
    return found


def _span(test: ast.expr) -> tuple[int, int, int, int] | None:
    if isinstance(test, _KNOWN) or (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
        return None
    if isinstance(test, ast.GeneratorExp) or test.end_lineno is None or test.end_col_offset is None:
        return None
    return test.lineno, test.col_offset, test.end_lineno, test.end_col_offset
