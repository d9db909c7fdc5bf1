"""The code that a turn runs: the library's text, the request as data, one call. And reading its result back."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from types import ModuleType
from typing import Any

from . import _library_answer, _library_notes, _library_revise, _library_store
from ._plan import Plan

_MARK = "# --- sent with the block ---\n"
_RESULT_CHARS = 400_000
_TOOLS = "read_file create_file update_file delete_file list_files search backlinks".split()


class _Compact(ast.NodeTransformer):
    """Leaves out what the interpreter in the sandbox would only skip: docstrings and annotations."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        for arg in (*node.args.args, *node.args.kwonlyargs):
            arg.annotation = None
        return self._body(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._body(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return ast.Assign([node.target], node.value) if node.value else node

    def _body(self, node: Any) -> ast.AST:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)


@cache
def _library(module: ModuleType) -> tuple[str, tuple[str, ...]]:
    """The text of a library module that is sent, and the names that it defines."""
    tree = ast.parse(inspect.getsource(module).split(_MARK, 1)[1])
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.module == "typing")]
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.Assign):
            names += [leaf.id for target in node.targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)]
    return ast.unparse(ast.fix_missing_locations(_Compact().visit(tree))), tuple(names)


def make_code(plan: Plan) -> str:
    """The block for a plan. It leaves one variable, ``answer``: plain data, bounded in size."""
    revises = any(op["op"] in ("swap", "drop", "forget") for op in plan.ops)
    modules = [_library_notes]
    modules += [_library_store] * bool(plan.ops) + [_library_revise] * revises + [_library_answer] * bool(plan.ask)
    parts = [_library(module)[0] for module in modules]
    names = [name for module in modules for name in _library(module)[1]]
    parts.append(f"notes = Notes({{{', '.join(f'{name!r}: {name}' for name in _TOOLS)}}})")
    parts.append("answer = {}")
    if plan.ops:
        parts.append(
            f"answer['store'] = store({'Reviser' if revises else 'Editor'}(notes), {_literal(list(plan.ops))})"
        )
    if plan.ask:
        parts.append(f"answer['look_up'] = answer_question(notes, {_literal(plan.ask)})")
    parts.append(f"del notes, {', '.join(dict.fromkeys(names))}")
    return "\n".join(parts)


def _literal(data: object) -> str:
    """Plain data as code, with no angle bracket in it that a reader of tags could take for one."""
    return repr(data).replace("<", "\\x3c").replace(">", "\\x3e")


def read_result(text: str) -> tuple[dict[str, Any], str]:
    """The block's ``answer`` and its error, from the text of a result message; what cannot be read is empty."""
    body = text.strip()
    body = body.removeprefix("<result>").removesuffix("</result>").strip()
    if len(body) > _RESULT_CHARS:
        return {}, ""
    try:
        values, error = ast.literal_eval(body)
        answer = values.get("answer", {})
        if isinstance(answer, str):  # given as the text of its repr
            answer = ast.literal_eval(answer) if answer else {}
    except (ValueError, SyntaxError, TypeError, AttributeError, RecursionError, MemoryError):
        return {}, _error_at_end(body)
    return (answer if isinstance(answer, dict) else {}), str(error)


def _error_at_end(body: str) -> str:
    """The error of a result whose values cannot be read."""
    start = body.rfind("}, ")
    try:
        return str(ast.literal_eval(body[start + 3 :].removesuffix(")"))) if start >= 0 else ""
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return ""
