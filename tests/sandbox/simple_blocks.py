"""Blocks as language models write them: each must run without an error, over a memory that holds one ``user.md``."""

from __future__ import annotations

import attrs

USER = "# User\n- name: Ana\n- city: Paris\n"


@attrs.frozen
class Block:
    """Code, what some of its variables and notes must be afterwards, and which other notes there are before."""

    name: str
    code: str
    values: dict[str, str] = attrs.field(factory=dict)
    notes: dict[str, str] = attrs.field(factory=dict)
    before: dict[str, str] = attrs.field(factory=dict)


SIMPLE = (
    Block(
        "read_user",
        """
exists = check_if_file_exists("user.md")
user = read_file("user.md") if exists else None
""",
        {"exists": "True"},
    ),
    Block(
        "create_entity",
        '''
import datetime
name = "Acme Corp"
slug = name.lower().replace(" ", "_")
path = f"entities/{slug}.md"
if not check_if_dir_exists("entities"):
    create_dir("entities")
content = f"""# {name}
- type: company
- founded: 1999
- updated: {datetime.datetime.now().strftime('%Y-%m-%d')}
"""
ok = create_file(path, content)
''',
        {"ok": "True", "slug": "'acme_corp'"},
    ),
    Block(
        "update_replace",
        """
old = "- name: Ana"
new = "- name: Ana Maria"
txt = read_file("user.md")
if old in txt:
    res = update_file("user.md", old, new)
else:
    res = "not found"
after = read_file("user.md")
""",
        {"res": "True", "after": "'# User\\n- name: Ana Maria\\n- city: Paris\\n'"},
    ),
    Block(
        "dict_build",
        """
facts = {}
for line in read_file("user.md").splitlines():
    line = line.strip()
    if line.startswith("- ") and ":" in line:
        k, _, v = line[2:].partition(":")
        facts[k.strip()] = v.strip()
n = len(facts)
""",
        {"facts": "{'name': 'Ana', 'city': 'Paris'}"},
    ),
    Block(
        "try_except",
        """
try:
    t = read_file("missing.md")
except FileNotFoundError as e:
    t = f"Error: {e}"
except Exception as e:
    t = f"Other: {type(e).__name__}: {e}"
finally:
    done = True
""",
        {"done": "True"},
    ),
    Block(
        "regex",
        r"""
import re
text = read_file("user.md")
m = re.search(r"- city:\s*(?P<city>.+)", text)
city = m.group("city") if m else None
links = re.findall(r"\[\[([^\]]+)\]\]", text)
clean = re.sub(r"\s+", " ", text)
pat = re.compile(r"^#\s+(.*)$", re.MULTILINE)
heads = [x.group(1) for x in pat.finditer(text)]
""",
        {"city": "'Paris'", "heads": "['User']"},
    ),
    Block(
        "datetime",
        """
from datetime import datetime, timedelta, date
now = datetime.now()
stamp = now.isoformat()
tomorrow = (now + timedelta(days=1)).strftime("%A, %d %B %Y")
d = datetime.strptime("2024-05-06", "%Y-%m-%d").date()
delta = (date(2024, 6, 1) - d).days
""",
        {"d": "datetime.date(2024, 5, 6)", "delta": "26"},
    ),
    Block(
        "json",
        """
import json
data = {"name": "Ana", "langs": ["fr", "en"], "n": 3, "ok": True, "none": None}
s = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False)
back = json.loads(s)
same = back == data
""",
        {"same": "True"},
    ),
    Block(
        "listcomp",
        """
files = list_files()
md = sorted([f for f in files if f.endswith(".md")])
idx = {f: len(read_file(f)) for f in md}
flat = [w for f in md for w in read_file(f).split() if len(w) > 3]
uniq = {w.lower() for w in flat}
""",
        {"md": "['user.md']", "idx": "{'user.md': 33}"},
    ),
    Block(
        "helper_fn",
        r'''
def append_fact(path: str, fact: str, *, prefix="- ") -> bool:
    """append a fact"""
    txt = read_file(path)
    if fact in txt:
        return False
    update_file(path, txt, txt.rstrip() + "\n" + prefix + fact + "\n")
    return True
added = append_fact("user.md", "likes: chess")
again = append_fact("user.md", "likes: chess")
''',
        {"added": "True", "again": "False"},
    ),
    Block(
        "lambda_sorted",
        """
people = [{"n": "Bo", "age": 31}, {"n": "Al", "age": 25}]
by_age = sorted(people, key=lambda p: p["age"], reverse=True)
names = list(map(lambda p: p["n"], by_age))
oldest = max(people, key=lambda p: p["age"])
adults = list(filter(lambda p: p["age"] > 30, people))
""",
        {"names": "['Bo', 'Al']"},
    ),
    Block(
        "os_listdir",
        """
import os
items = os.listdir(".")
has = os.path.exists("user.md")
p = os.path.join("entities", "x.md")
base = os.path.basename(p)
ext = os.path.splitext(base)[1]
""",
        {"items": "['user.md']", "has": "True", "ext": "'.md'"},
    ),
    Block(
        "os_walk",
        """
import os
allf = []
for root, dirs, fs in os.walk("."):
    for f in fs:
        allf.append(os.path.join(root, f))
""",
        {"allf": "['./user.md']"},
    ),
    Block(
        "with_open",
        r"""
with open("user.md") as f:
    content = f.read()
with open("user.md", "r", encoding="utf-8") as f:
    lines = f.readlines()
with open("log.md", "a") as f:
    f.write("entry\n")
with open("log.md") as f:
    for i, line in enumerate(f):
        last = (i, line.strip())
""",
        {"last": "(0, 'entry')"},
    ),
    Block(
        "class_basic",
        r"""
class Entity:
    kind = "generic"
    def __init__(self, name, facts=None):
        self.name = name
        self.facts = facts or []
    def to_md(self):
        return f"# {self.name}\n" + "\n".join(f"- {x}" for x in self.facts)
    def __repr__(self):
        return f"Entity({self.name!r})"
    @property
    def slug(self):
        return self.name.lower()
    @staticmethod
    def make(n):
        return Entity(n)
class Person(Entity):
    kind = "person"
    def __init__(self, name):
        super().__init__(name, ["human"])
e = Person("Ana")
md = e.to_md()
slug = e.slug
o = Entity.make("x")
""",
        {"e": "Entity('Ana')", "slug": "'ana'"},
    ),
    Block(
        "walrus",
        """
if (n := len(read_file("user.md"))) > 5:
    msg = f"long {n:>6d} {n/3:.2f}"
vals = [y for x in range(5) if (y := x * 2) > 2]
""",
        {"vals": "[4, 6, 8]"},
    ),
    Block(
        "generator",
        """
def gen(n):
    for i in range(n):
        yield i * i
total = sum(gen(5))
first = next(x for x in gen(10) if x > 10)
def chain(*its):
    for it in its:
        yield from it
c = list(chain([1], (2, 3)))
""",
        {"total": "30", "c": "[1, 2, 3]"},
    ),
    Block(
        "dataclass",
        """
from dataclasses import dataclass, field, asdict
@dataclass
class Fact:
    key: str
    value: str
    tags: list = field(default_factory=list)
f = Fact("city", "Paris")
d = asdict(f)
r = repr(f)
""",
        {"d": "{'key': 'city', 'value': 'Paris', 'tags': []}"},
    ),
    Block(
        "multiline",
        r'''
page = """
# Title

| a | b |
|---|---|
| 1 | 2 |
""".strip()
rows = [r.strip("| ").split(" | ") for r in page.split("\n")[4:]]
joined = "\n".join(page.splitlines()[:1])
create_file("t.md", page)
''',
        {"rows": "[['1', '2']]"},
    ),
    Block(
        "enum_zip",
        """
ks = ["a", "b", "c"]; vs = [1, 2, 3]
d = dict(zip(ks, vs))
num = [f"{i+1}. {k}" for i, k in enumerate(ks)]
rev = list(reversed(ks)); tot = sum(d.values()); anyb = any(v > 2 for v in vs); a2 = all(vs)
first, *rest = ks
""",
        {"num": "['1. a', '2. b', '3. c']"},
    ),
    Block(
        "sets",
        """
a = {"x", "y"}; b = {"y", "z"}
u = a | b; i = a & b; df = a - b; sd = a ^ b; sub = {"x"} <= a
fz = frozenset(a)
from collections import defaultdict, Counter
dd = defaultdict(list)
for w in ["aa", "b", "ab"]: dd[w[0]].append(w)
cnt = Counter("hello").most_common(2)
""",
        {"sub": "True", "cnt": "[('l', 2), ('h', 1)]"},
    ),
    Block(
        "pathlib",
        r"""
from pathlib import Path
p = Path("user.md")
ex = p.exists()
t = p.read_text()
Path("notes").mkdir(exist_ok=True)
Path("notes/a.md").write_text("# A\n")
gl = sorted(str(x) for x in Path(".").glob("**/*.md"))
""",
        {"gl": "['notes/a.md', 'user.md']"},
    ),
    Block(
        "link_tool",
        """
res = go_to_link("[[entities/acme]]")
content = res if isinstance(res, str) else None
hits = search("Ana")
for h in hits:
    print(h)
""",
        {"hits": "['user.md:2: - name: Ana']"},
    ),
    Block(
        "match",
        """
cmd = {"op": "add", "v": 3}
match cmd:
    case {"op": "add", "v": int(v)} if v > 2:
        r = "big"
    case _:
        r = "other"
""",
        {"r": "'big'"},
    ),
    Block(
        "typing_etc",
        r"""
from typing import Optional, List, Dict
from collections import OrderedDict, deque, namedtuple
import math, itertools, functools, textwrap, string, random, uuid, hashlib, time
x: Optional[int] = None
def f(a: List[int]) -> Dict[str, int]:
    return {str(i): i for i in a}
d = f([1, 2])
wrapped = textwrap.dedent("  a\n  b")
pts = list(itertools.chain([1], [2]))
P = namedtuple("P", "x y"); p = P(1, 2)
h = hashlib.sha256(b"x").hexdigest()[:8]
""",
        {"d": "{'1': 1, '2': 2}", "h": "'2d711642'"},
    ),
    Block(
        "strmeth",
        """
t = "  Hello, World  "
out = [t.strip(), t.title(), t.upper(), t.find("W"), t.count("l"), t.strip().split(","), t[2:7], t[::-1]]
out += ["a-b".replace("-", "_"), "x".zfill(3), "%s=%d" % ("k", 3), "{:>8}|{!r}".format("a", "b")]
out += [t.strip().removesuffix("World"), "é".encode("utf-8"), "abc".translate(str.maketrans("a", "z"))]
""",
    ),
    Block(
        "full_flow",
        r"""
log = []
def ensure(path, title):
    if check_if_file_exists(path):
        log.append(("exists", path))
        return read_file(path)
    create_file(path, "# " + title + "\n")
    log.append(("created", path))
    return read_file(path)
acme = ensure("entities_acme.md", "Acme")
user = read_file("user.md")
if "[[entities_acme]]" not in user:
    r = update_file("user.md", "# User\n", "# User\n- employer: [[entities_acme]]\n")
final = read_file("user.md")
assert "[[entities_acme]]" in final, "link missing"
print("done", len(log), sep=": ")
""",
        {"final": "'# User\\n- employer: [[entities_acme]]\\n- name: Ana\\n- city: Paris\\n'"},
    ),
)
