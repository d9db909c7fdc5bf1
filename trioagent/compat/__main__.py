"""``python -m trioagent.compat script.py …``: run a program that imports ``agent``, unchanged."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from types import ModuleType, TracebackType

from trioagent.compat import install

_USAGE = """usage: python -m trioagent.compat SCRIPT [ARGUMENT ...]
       python -m trioagent.compat -m MODULE [ARGUMENT ...]

Runs the program as Python itself would, with trioagent.compat importable as `agent`.
"""
_OURS = {__file__, runpy.__file__, "<frozen runpy>"}


def main(arguments: list[str]) -> None:
    """Run the program named by *arguments*, and exit as it does."""
    match arguments:
        case ["-m", module, *_]:
            run: Callable[[], object] = lambda: runpy.run_module(module, run_name="__main__", alter_sys=True)  # noqa: E731
            sys.argv = arguments[1:]
        case ["-h" | "--help"]:
            sys.stdout.write(_USAGE)
            return
        case [script, *_] if not script.startswith("-"):
            run = lambda: _run_script(script)  # noqa: E731
            sys.argv = arguments
        case _:
            sys.stderr.write(_USAGE)
            sys.exit(2)
    install()
    try:
        run()
    except BaseException:
        sys.excepthook = _without_our_frames(sys.excepthook)
        raise


def _run_script(script: str) -> None:
    """As ``python script`` does: its folder first on the path, its names in the module ``__main__``."""
    script = os.path.abspath(script)  # sys.argv[0] stays as it was given
    if os.path.isdir(script) or script.endswith((".zip", ".pyz")):
        runpy.run_path(script, run_name="__main__")
        return
    try:
        with open(script, "rb") as file:
            source = file.read()
    except OSError as error:
        sys.stderr.write(f"{sys.executable}: can't open file {script!r}: {error.strerror}\n")
        sys.exit(2)
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(script))  # replaces the current folder, which -m put there
    module = ModuleType("__main__")
    module.__file__ = script
    module.__loader__ = SourceFileLoader("__main__", script)
    module.__dict__["__builtins__"] = __builtins__
    module.__dict__["__cached__"] = None
    sys.modules["__main__"] = module
    exec(compile(source, script, "exec", dont_inherit=True), module.__dict__)


def _without_our_frames(
    hook: Callable[[type[BaseException], BaseException, TracebackType | None], object],
) -> Callable[[type[BaseException], BaseException, TracebackType | None], object]:
    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> object:
        while trace is not None and trace.tb_frame.f_code.co_filename in _OURS:
            trace = trace.tb_next
        return hook(kind, error.with_traceback(trace), trace)

    return show


if __name__ == "__main__":
    main(sys.argv[1:])
