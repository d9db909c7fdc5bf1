"""Forged answers and objects that would run in the host."""

from ._case import Case

CASES = (
    Case(
        "repr_raises",
        "repr raises",
        """
class R:
    def __repr__(self): raise SystemExit(1)
    def __str__(self): raise KeyboardInterrupt
r = R()
""",
    ),
    Case(
        "repr_not_str",
        "repr returns a str subclass with evil methods",
        """
class S(str):
    def __len__(self): return 1
    def __getitem__(self, i): raise SystemExit
    def encode(self, *a): raise SystemExit
class R:
    def __repr__(self): return S("x" * 10)
r = R()
""",
    ),
    Case(
        "forge_protocol_fds",
        "forged frames accepted as host data",
        r"""
import os, struct
b = b"\x7f\xff\xff\xff" + b"{" * 1000
for fd in range(0, 32):
    try: os.write(fd, b)
    except BaseException: pass
""",
    ),
    Case(
        "forge_deep_json",
        "JSON bomb kills the host",
        """
import os, struct
b = b"[" * 900000
for fd in range(3, 32):
    try:
        m = memoryview(struct.pack(">I", len(b)) + b)
        while m: m = m[os.write(fd, m):]
    except BaseException: pass
os._exit(0)
""",
    ),
    Case(
        "forge_bigint_json",
        "integer bomb",
        """
import os, struct
b = b'{"locals": {}, "error": null, "out": "", "n": ' + b"9" * 900000 + b"}"
for fd in range(3, 32):
    try:
        m = memoryview(struct.pack(">I", len(b)) + b)
        while m: m = m[os.write(fd, m):]
    except BaseException: pass
os._exit(0)
""",
    ),
    Case(
        "evil_reduce",
        "unpickled in the host",
        """
import os
class E:
    def __reduce__(self): return (os.system, ("touch @OUT@/SBXPWN30",))
e = E()
lst = [e]; d = {"a": e}
""",
    ),
    Case(
        "evil_class_eq",
        "host runs our __eq__/__class__/__hash__",
        """
class M(type):
    def __instancecheck__(c, i): raise SystemExit
class E(metaclass=M):
    def __eq__(self, o): open("@OUT@/SBXPWN31", "w"); return True
    def __hash__(self): return 1
    @property
    def __class__(self): raise SystemExit
    def __getattr__(self, n): raise SystemExit
e = E()
""",
    ),
    Case(
        "evil_dict_keys",
        "odd keys in the namespace",
        """
globals()[1] = 2
class K(str):
    def __hash__(self): return 1
    def startswith(self, *a): raise SystemExit
globals()[K("kk")] = 3
x = 1
""",
    ),
    Case(
        "evil_exception",
        "exception with evil __str__",
        """
class X(Exception):
    def __str__(self): raise SystemExit
    __repr__ = __str__
raise X()
""",
    ),
    Case(
        "forged_death_note",
        "a forged note is more than the block's own end",
        """
import os, struct
os.write(3, struct.pack("=4sI", b"\\xffDIE", 0x7F7F))
os._exit(0)
""",
    ),
    Case(
        "half_a_frame",
        "the host waits for ever",
        """
import os, time
os.write(3, b"\\0\\0\\1\\0half")
time.sleep(1000)
""",
    ),
    Case(
        "forged_call",
        "a host function that was not offered runs",
        """
import os, json
for name in ("system", "eval", "__class__", "x" * 100000):
    body = json.dumps({"call": name, "args": ["touch @OUT@/SBXPWN60"], "kwargs": {}}).encode()
    os.write(3, len(body).to_bytes(4, "big") + body)
t = os.read(3, 1000)
""",
    ),
    Case(
        "frames_without_end",
        "the host serves for ever, or buffers without bound",
        """
import os
frame = b"\\0\\0\\0\\x24" + b'{"call": "a", "args":[],"kwargs":{}} '[:36]
while True:
    os.write(3, frame * 100)
""",
    ),
    Case(
        "doubled_keys",
        "two readings of one answer",
        """
import os
body = b'{"locals": {}, "error": "x", "printed": "", "reads": [], "error": ""}'
os.write(3, len(body).to_bytes(4, "big") + body)
os._exit(0)
""",
    ),
    Case(
        "lone_surrogates",
        "text that nothing can store",
        r"""
import os
body = rb'{"locals": {"\ud800": "\udfff"}, "error": "", "printed": "\udcff", "reads": [["\ud800", "", "read"]]}'
os.write(3, len(body).to_bytes(4, "big") + body)
os._exit(0)
""",
    ),
    Case(
        "poisoned_encoder",
        "a forged answer through the block's own interpreter",
        """
import json, sys
json.dumps = lambda *a, **k: '{"locals": {"a": [1, {"b": "c"}]}, "error": 0, "printed": null, "reads": 3}'
for name, module in list(sys.modules.items()):
    if name.endswith("values"):
        module.local_values = lambda *a: {1: object()}
""",
    ),
    Case(
        "reads_outside",
        "paths that the block claims to have read lead outside",
        """
import os, json
paths = ["../other/secret.md", "/etc/passwd", "", "a\\0b"] * 50
body = json.dumps({"locals": {}, "error": "", "printed": "", "reads": [[path, "", "read"] for path in paths]})
open("x.md", "w").write("x")
os.write(3, len(body).to_bytes(4, "big") + body.encode())
os._exit(0)
""",
    ),
    Case(
        "reads_without_end",
        "the host looks for each path that the block claims to have read",
        """
import os, json
open("x.md", "w").write("x")
reads = [[f"{number:x}", "", "read"] for number in range(60_000)]
body = json.dumps({"locals": {}, "error": "", "printed": "", "reads": reads}).encode()
m = memoryview(len(body).to_bytes(4, "big") + body)
while m: m = m[os.write(3, m):]
os._exit(0)
""",
    ),
    Case(
        "calls_nobody_reads",
        "answers pile up at the host",
        """
import os, json
body = json.dumps({"call": "nobody", "args": [[[]]] * 10, "kwargs": {"self": 1}}).encode()
for _ in range(3000):
    os.write(3, len(body).to_bytes(4, "big") + body)
""",
    ),
    Case(
        "channel_replaced",
        "an answer goes astray",
        """
import os
note = os.open("user.md", os.O_RDWR)
os.close(3)
other = os.dup(note)
""",
    ),
    Case(
        "writing_replaced",
        "an answer in pieces, with lengths that lie",
        """
import builtins, os
write = os.write
os.write = lambda descriptor, data: write(descriptor, bytes(data)[:1])
builtins.len = lambda *a: 1
""",
    ),
    Case(
        "exception_of_lies",
        "the error's own attributes run in the host",
        """
class Lie(BaseException):
    def __str__(self): raise Lie
    __traceback__ = __class__ = __cause__ = __notes__ = property(__str__)
raise Lie
""",
    ),
)
