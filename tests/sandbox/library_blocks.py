"""More blocks as models write them, each leaning on another part of the language or of its standard library."""

from .simple_blocks import Block

LIBRARY = (
    Block(
        "move_and_copy",
        """
import os, shutil
os.makedirs("archive/2024", exist_ok=True)
shutil.copy("user.md", "archive/2024/user.md")
shutil.copy2("user.md", "copy.md")
shutil.move("copy.md", "archive/moved.md")
shutil.copytree("archive", "backup")
shutil.rmtree("archive")
files = list_files()
""",
        {"files": "['backup/2024/user.md', 'backup/moved.md', 'user.md']"},
        {"backup/2024/user.md": "# User\n- name: Ana\n- city: Paris\n"},
    ),
    Block(
        "rename_note",
        """
import os
os.rename("user.md", "person.md")
os.replace("person.md", "user.md")
from pathlib import Path
target = Path("user.md").rename("me.md")
names = sorted(os.listdir())
""",
        {"names": "['me.md']", "target": "PosixPath('me.md')"},
        {"me.md": "# User\n- name: Ana\n- city: Paris\n"},
    ),
    Block(
        "rename_folder_of_old_notes",
        """
import os
os.rename("old", "notes")
moved = os.path.isdir("notes") and not os.path.exists("old")
""",
        {"moved": "True"},
        {"notes/kept.md": "kept"},
        {"old/kept.md": "kept"},
    ),
    Block(
        "csv_table",
        """
import csv, io
rows = [["name", "age"], ["Bo", 31], ["Al", 25]]
with open("people.csv", "w", newline="") as f:
    csv.writer(f).writerows(rows)
with open("people.csv", newline="") as f:
    back = list(csv.DictReader(f))
total = sum(int(r["age"]) for r in back)
buffer = io.StringIO()
csv.writer(buffer).writerow(["a", "b,c"])
text = buffer.getvalue()
""",
        {"total": "56"},
    ),
    Block(
        "print_to_file",
        """
with open("log.md", "w", encoding="utf-8") as log:
    print("# Log", file=log)
    for i, word in enumerate(["eins", "zwei"], start=1):
        print(i, word, sep=". ", file=log)
log2 = open("left_open.md", "w")
log2.write("never closed")
""",
        {},
        {"log.md": "# Log\n1. eins\n2. zwei\n", "left_open.md": "never closed"},
    ),
    Block(
        "enum_and_flags",
        """
from enum import Enum, IntEnum, auto
class Mood(Enum):
    HAPPY = "happy"
    SAD = "sad"
class Level(IntEnum):
    LOW = auto()
    HIGH = auto()
mood = Mood("happy")
names = [m.name for m in Mood]
higher = Level.HIGH > Level.LOW
""",
        {"mood": "<Mood.HAPPY: 'happy'>", "names": "['HAPPY', 'SAD']", "higher": "True"},
    ),
    Block(
        "decorators",
        """
import functools, time
def logged(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        calls.append(fn.__name__)
        return fn(*args, **kwargs)
    return wrapper
calls = []
@logged
def add(a, b=2):
    return a + b
@functools.lru_cache(maxsize=None)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
result = (add(1), fib(30), functools.reduce(lambda a, b: a * b, [1, 2, 3, 4]))
""",
        {"result": "(3, 832040, 24)", "calls": "['add']"},
    ),
    Block(
        "global_and_nonlocal",
        """
counter = 0
def bump():
    global counter
    counter += 1
def outer():
    inner_count = 0
    def inner():
        nonlocal inner_count
        inner_count += 1
        return inner_count
    inner()
    return inner()
bump(); bump()
both = (counter, outer())
""",
        {"both": "(2, 2)"},
    ),
    Block(
        "recursion_over_folders",
        """
import os
create_file("a/b/c.md", "x")
create_file("a/d.md", "y")
def tree(path, depth=0):
    lines = []
    for name in sorted(os.listdir(path)):
        full = os.path.join(path, name)
        lines.append("  " * depth + name)
        if os.path.isdir(full):
            lines.extend(tree(full, depth + 1))
    return lines
shape = tree(".")
""",
        {"shape": "['a', '  b', '    c.md', '  d.md', 'user.md']"},
    ),
    Block(
        "glob_and_fnmatch",
        """
import glob, fnmatch
from pathlib import Path
create_file("entities/ada.md", "# Ada")
create_file("entities/bob.md", "# Bob")
found = sorted(glob.glob("**/*.md", recursive=True))
some = fnmatch.filter(found, "entities/a*")
stems = sorted(p.stem for p in Path("entities").iterdir())
sizes = {p.name: p.stat().st_size for p in Path("entities").rglob("*.md")}
""",
        {"some": "['entities/ada.md']", "stems": "['ada', 'bob']"},
    ),
    Block(
        "regex_with_functions",
        r"""
import re
text = "Call 555-1234 or 555-9876, born 1990-05-06."
masked = re.sub(r"\d{3}-(\d{4})", lambda m: "***-" + m.group(1)[-2:], text)
dates = [tuple(map(int, m.groups())) for m in re.finditer(r"(\d{4})-(\d\d)-(\d\d)", text)]
parts = re.split(r"[,.]\s*", text)
named = re.match(r"(?P<verb>\w+)", text, flags=re.I).groupdict()
""",
        {"named": "{'verb': 'Call'}", "dates": "[(1990, 5, 6)]"},
    ),
    Block(
        "string_templates",
        """
from string import Template, ascii_lowercase
import textwrap
page = Template("# $name\\n- city: ${city}\\n").substitute(name="Ada", city="London")
wrapped = textwrap.fill("word " * 30, width=40)
indented = textwrap.indent("a\\nb", "> ")
create_file("ada.md", page)
table = f"{'name':<10}|{3.14159:>8.2f}|{1234567:,}|{0.5:.0%}|{'x':^5}|"
""",
        {"indented": "'> a\\n> b'", "table": "'name      |    3.14|1,234,567|50%|  x  |'"},
        {"ada.md": "# Ada\n- city: London\n"},
    ),
    Block(
        "time_zones",
        """
from datetime import datetime, timezone, timedelta
from zoneinfo import ZoneInfo
import calendar, time
utc = datetime(2024, 7, 1, 12, tzinfo=timezone.utc)
berlin = utc.astimezone(ZoneInfo("Europe/Berlin")).isoformat()
weekday = calendar.day_name[utc.weekday()]
parsed = datetime.fromisoformat("2024-02-29T10:00:00")
later = (parsed + timedelta(weeks=1)).strftime("%d.%m.%Y")
stamp = time.strftime("%Y", time.gmtime(0))
""",
        {"weekday": "'Monday'", "later": "'07.03.2024'", "stamp": "'1970'", "berlin": "'2024-07-01T14:00:00+02:00'"},
    ),
    Block(
        "context_managers",
        """
import contextlib, io
@contextlib.contextmanager
def section(title):
    events.append("enter " + title)
    try:
        yield title.upper()
    finally:
        events.append("leave " + title)
events = []
with section("a") as up, contextlib.suppress(FileNotFoundError):
    open("nope.md")
captured = io.StringIO()
with contextlib.redirect_stdout(captured):
    print("inside")
got = captured.getvalue()
""",
        {"events": "['enter a', 'leave a']", "got": "'inside\\n'", "up": "'A'"},
    ),
    Block(
        "pretty_json_file",
        """
import json, pprint
data = {"b": [1, 2, {"c": None}], "a": "ä"}
with open("data.json", "w", encoding="utf-8") as f:
    json.dump(data, f, ensure_ascii=False, indent=1, sort_keys=True)
with open("data.json", encoding="utf-8") as f:
    same = json.load(f) == data
pretty = pprint.pformat(data)
try:
    json.loads("{bad")
except json.JSONDecodeError as e:
    problem = e.msg
""",
        {"same": "True", "pretty": "\"{'a': 'ä', 'b': [1, 2, {'c': None}]}\""},
    ),
    Block(
        "abstract_classes",
        """
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypedDict, TypeVar
T = TypeVar("T")
class Shape(ABC):
    @abstractmethod
    def area(self) -> float: ...
    @classmethod
    def named(cls, *a): return cls(*a)
@dataclass(frozen=True, order=True)
class Square(Shape):
    side: float = 1.0
    kind: ClassVar[str] = "square"
    def area(self): return self.side ** 2
class Box(Generic[T]):
    def __init__(self, item: T): self.item = item
class Point(NamedTuple):
    x: int
    y: int = 0
class Movie(TypedDict, total=False):
    title: str
area = Square.named(3).area()
bigger = replace(Square(2), side=4)
point = Point(1)
movie: Movie = {"title": "M"}
""",
        {"area": "9", "bigger": "Square(side=4)", "point": "Point(x=1, y=0)"},
    ),
    Block(
        "collections_and_itertools",
        """
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
import heapq, bisect, itertools, operator
groups = {k: list(v) for k, v in itertools.groupby(sorted(["aa", "b", "ab"]), key=lambda s: s[0])}
pairs = list(itertools.combinations("abc", 2))
top = heapq.nlargest(2, [5, 1, 9])
ranked = sorted([("x", 2), ("y", 1)], key=operator.itemgetter(1))
queue = deque([1, 2, 3], maxlen=2)
merged = dict(ChainMap({"a": 1}, {"a": 2, "b": 3}))
running = list(itertools.accumulate([1, 2, 3]))
place = bisect.bisect([1, 3, 5], 4)
""",
        {
            "groups": "{'a': ['aa', 'ab'], 'b': ['b']}",
            "top": "[9, 5]",
            "queue": "deque([2, 3], maxlen=2)",
            "place": "2",
        },
    ),
    Block(
        "numbers",
        """
import math, statistics, random
from decimal import Decimal, ROUND_HALF_UP
from fractions import Fraction
money = Decimal("2.675").quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
half = Fraction(3, 6)
mean = statistics.mean([1, 2, 3, 4])
random.seed(1)
pick = random.choice(["a", "b"]) in "ab" and 1 <= random.randint(1, 6) <= 6
hyp = math.hypot(3, 4)
""",
        {"money": "Decimal('2.68')", "half": "Fraction(1, 2)", "mean": "2.5", "hyp": "5.0", "pick": "True"},
    ),
    Block(
        "temporary_files",
        """
import tempfile, os
with tempfile.NamedTemporaryFile("w+", suffix=".md", delete=True) as f:
    f.write("scratch")
    f.flush()
    f.seek(0)
    scratch = f.read()
with tempfile.TemporaryDirectory() as d:
    open(os.path.join(d, "x"), "w").close()
with tempfile.TemporaryFile() as f:
    f.write(b"x")
left = [name for name in os.listdir(".") if not name.startswith(".")]
""",
        {"scratch": "'scratch'", "left": "['user.md']"},
    ),
    Block(
        "less_common_modules",
        """
import argparse, asyncio, base64, configparser, copy, difflib, email.utils, gzip, hashlib, hmac, html, inspect, logging
import pickle, platform, queue, secrets, shlex, sqlite3, sys, threading, tomllib, traceback, unittest, uuid
import urllib.parse
import xml.etree.ElementTree as ET, zipfile, concurrent.futures, graphlib, types, unicodedata, warnings, weakref
config = configparser.ConfigParser()
config.read_string("[a]\\nb = 1")
b = config.getint("a", "b")
near = difflib.get_close_matches("appel", ["ape", "apple", "peach"], n=1)
url = urllib.parse.urlparse("https://example.org/a?b=c").netloc
root = ET.fromstring("<a><b>hi</b></a>").find("b").text
order = list(graphlib.TopologicalSorter({"b": {"a"}}).static_order())
table = tomllib.loads("x = 1")
digest = hashlib.md5(b"x").hexdigest()[:6]
signed = hmac.new(b"k", b"m", hashlib.sha256).hexdigest()[:6]
packed = pickle.loads(pickle.dumps({"a": (1, 2)}))
zipped = gzip.decompress(gzip.compress(b"text"))
ident = len(str(uuid.uuid4()))
db = sqlite3.connect(":memory:")
rows = db.execute("select 1 + 1").fetchall()
db.close()
plain = unicodedata.normalize("NFKD", "é").encode("ascii", "ignore").decode()
logging.basicConfig(level=logging.INFO)
logging.info("noted")
""",
        {
            "near": "['apple']",
            "url": "'example.org'",
            "root": "'hi'",
            "order": "['a', 'b']",
            "packed": "{'a': (1, 2)}",
            "ident": "36",
            "rows": "[(2,)]",
            "plain": "'e'",
        },
    ),
    Block(
        "exceptions",
        """
class NoteMissing(KeyError):
    pass
log = []
try:
    try:
        raise NoteMissing("ada")
    except KeyError as error:
        raise ValueError("wrapped") from error
except ValueError as error:
    log.append((str(error), type(error.__cause__).__name__))
else:
    log.append("no error")
finally:
    log.append("done")
try:
    assert 1 == 2, "numbers"
except AssertionError as e:
    log.append(str(e))
import traceback
try:
    1 / 0
except ZeroDivisionError:
    text = traceback.format_exc()
shows_source = "1 / 0" in text
""",
        {"log": "[('wrapped', 'NoteMissing'), 'done', 'numbers']", "shows_source": "True"},
    ),
    Block(
        "early_exit",
        """
import sys
status = "checked"
if not check_if_file_exists("missing.md"):
    create_file("made.md", "x")
    sys.exit()
status = "never here"
""",
        {"status": "'checked'"},
        {"made.md": "x"},
    ),
    Block(
        "main_guard",
        """
def main():
    return create_file("from_main.md", "yes")
if __name__ == "__main__":
    done = main()
""",
        {"done": "True"},
        {"from_main.md": "yes"},
    ),
    Block(
        "touch_and_stat",
        """
from pathlib import Path
import os, stat, time
Path("empty.md").touch()
os.chmod("empty.md", 0o644)
os.utime("empty.md")
info = os.stat("empty.md")
regular = stat.S_ISREG(info.st_mode)
fresh = abs(time.time() - Path("empty.md").stat().st_mtime) < 60
Path("empty.md").unlink()
gone = not Path("empty.md").exists()
""",
        {"regular": "True", "fresh": "True", "gone": "True"},
    ),
    Block(
        "edit_lines_in_place",
        """
with open("user.md", "r+") as f:
    lines = f.readlines()
    f.seek(0)
    f.truncate()
    for line in lines:
        if line.startswith("- city"):
            line = "- city: Berlin\\n"
        f.write(line)
with open("user.md", "a") as f:
    f.write("- moved: 2024\\n")
""",
        {},
        {"user.md": "# User\n- name: Ana\n- city: Berlin\n- moved: 2024\n"},
    ),
    Block(
        "many_notes_and_links",
        """
people = {"ada": "London", "bob": "Paris", "cy": "Oslo"}
for name, city in people.items():
    create_file(f"entities/{name}.md", f"# {name.title()}\\n- city: {city}\\n- knows: [[user]]\\n")
friends = "\\n".join(f"- friend: [[entities/{n}]]" for n in sorted(people))
update_file("user.md", "- city: Paris", "- city: Paris\\n" + friends)
links = backlinks("user.md")
size = get_size("entities")
where = [hit for hit in search("London")]
friend = go_to_link("[[entities/ada]]")
""",
        {"size": "113", "friend": "'# Ada\\n- city: London\\n- knows: [[user]]\\n'"},
    ),
    Block(
        "type_hints_and_futures",
        """
from __future__ import annotations
from typing import Optional, Union
def find(key: str, *, default: Optional[str] = None) -> Union[str, None]:
    return {"a": "1"}.get(key, default)
answer: str | None = find("b", default="none")
matrix = [[i * j for j in range(3)] for i in range(3)]
flat = [x for row in matrix for x in row if x]
*head, tail = flat
lookup = {k: v for k, v in zip("abc", range(3), strict=True)}
text = "yes" if flat and not None else "no"
del head
""",
        {"answer": "'none'", "flat": "[1, 2, 2, 4]", "tail": "4"},
    ),
)
