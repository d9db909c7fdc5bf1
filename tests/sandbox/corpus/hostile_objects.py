"""Objects and states of the interpreter that the child must still make an answer of."""

from ._case import Case

CASES = (
    Case(
        "nested_without_end",
        "a repr that takes the native stack",
        """
x = []
for _ in range(200_000):
    x = [x]
""",
    ),
    Case(
        "nested_without_guard",
        "a repr that takes the native stack",
        """
import sys
sys.setrecursionlimit(10**9)
x = []
for _ in range(300_000):
    x = [x]
""",
    ),
    Case(
        "numbers_too_long_to_show",
        "a repr that takes for ever",
        """
import sys
sys.set_int_max_str_digits(0)
x = 1 << 3_000_000
y = 10**6000
""",
    ),
    Case(
        "modules_that_bite",
        "the child's own imports are replaced by what raises",
        """
import builtins, sys, types
class Biting(types.ModuleType):
    def __getattribute__(self, name): raise SystemExit
for name in list(sys.modules):
    sys.modules[name] = Biting(name)
for name in list(vars(builtins)):
    if name not in ("__build_class__", "__import__"):
        setattr(builtins, name, None)
""",
    ),
    Case(
        "group_of_groups",
        "an error whose text is exponential",
        """
error = ValueError("x")
for _ in range(40):
    error = ExceptionGroup("g" * 100, [error, error])
raise error
""",
    ),
    Case(
        "notes_on_an_error",
        "an error's notes reach the model whole",
        """
error = ValueError("x")
error.__notes__ = ["n" * 1_000_000] * 50
raise error
""",
    ),
    Case(
        "syntax_error_of_lies",
        "an error's line is looked for where there is none",
        """
class Lie(SyntaxError):
    filename = "<block>"
    lineno = property(lambda self: 10**10)
    msg = "m" * 10_000_000
raise Lie()
""",
    ),
    Case(
        "exit_of_lies",
        "the end of a script that compares itself",
        """
class Code:
    def __eq__(self, other): raise SystemExit(self)
    def __str__(self): return "x" * 10**7
raise SystemExit(Code())
""",
    ),
    Case(
        "variables_that_breed",
        "a variable's repr makes more of them",
        """
class Breeding:
    def __repr__(self):
        globals()[f"v{len(globals())}"] = Breeding()
        return "b" * 1000
r = Breeding()
""",
    ),
    Case(
        "names_that_lie",
        "a variable's name has methods of its own, or no end",
        r"""
class Name(str):
    def __len__(self): return -1
globals()[Name("x" * 1_000_000)] = 1
globals()["y" * 3_000_000] = 2
globals()["\ud800"] = 3
""",
    ),
    Case(
        "buffer_that_never_empties",
        "flushing what the block left open runs its code",
        """
import io
class Endless(io.RawIOBase):
    def writable(self): return True
    def write(self, data):
        while True: pass
left = io.BufferedWriter(Endless())
left.write(b"x")
""",
    ),
    Case(
        "warnings_without_end",
        "warnings are printed without bound",
        """
import warnings
warnings.simplefilter("always")
for _ in range(20_000):
    warnings.warn("x" * 1000)
""",
    ),
    Case(
        "crash_handled",
        "a handler for crashes keeps it alive",
        """
import ctypes, signal
for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGXCPU, signal.SIGXFSZ):
    signal.signal(number, lambda *a: None)
ctypes.string_at(0)
""",
    ),
    Case(
        "audit_hooks",
        "a hook of the block's own outlives it, or stops the answer",
        """
import sys
def hook(event, arguments):
    raise SystemExit(event)
sys.addaudithook(hook)
""",
    ),
    Case(
        "tracing",
        "code of the block's own runs within the child's",
        """
import sys
def trace(frame, event, argument):
    try:
        open("traced.md", "w")
        frame.f_globals["json"] = None
    finally:
        return trace
sys.settrace(trace)
sys.setprofile(trace)
def end(*a): raise SystemExit
sys.unraisablehook = sys.excepthook = end
""",
    ),
)
