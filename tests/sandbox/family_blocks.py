"""120 blocks as models of the memory-agent family write them: without imports, for a list of files or a tree's text.

Each runs over the same notes and must end without an error; ``--- name = value`` says what a variable must be then.
"""

from __future__ import annotations

import ast

from .simple_blocks import Block

NOTES = {
    "entities/acme_corp.md": "# Acme Corp\n- type: company\n- founded: 1999\n- ceo: [[entities/jane_doe]]\n",
    "entities/jane_doe.md": "# Jane Doe\n- role: CEO\n- works_at: [[entities/acme_corp]]\n\n## Notes\n- likes tea\n",
    "entities/paris.md": "# Paris\n- country: France\n",
}
"""What is there beside ``user.md``, which says that Ana lives in Paris."""

_TEXT = r'''
=== first_look
exists = check_if_file_exists("user.md")
--- exists = True
=== first_read
exists = check_if_file_exists("user.md")
content = read_file("user.md")
--- content = '# User\n- name: Ana\n- city: Paris\n'
=== first_read_guarded
user_exists = check_if_file_exists("user.md")
if user_exists:
    user_content = read_file("user.md")
else:
    user_content = "No user file"
--- user_exists = True
=== exists_compared_to_true
result = "yes" if check_if_file_exists("user.md") == True else "no"
--- result = 'yes'
=== missing_compared_to_false
result = "absent" if check_if_file_exists("nobody.md") == False else "there"
--- result = 'absent'
=== both_checks
a = check_if_file_exists("entities/paris.md")
b = check_if_dir_exists("entities")
c = check_if_dir_exists("places")
--- a = True
--- b = True
--- c = False
=== list_all
files = list_files()
--- files = ['entities/acme_corp.md', 'entities/jane_doe.md', 'entities/paris.md', 'user.md']
=== list_folder
files = list_files("entities")
count = len(files)
--- count = 3
=== tree_lines
structure = list_files()
lines = structure.split("\n")
first = lines[0]
--- first = './'
=== tree_splitlines
lines = list_files().splitlines()
n = len(lines)
--- n = 6
=== tree_contains_name
found = "jane_doe" in list_files()
--- found = True
=== tree_contains_file
tree = list_files()
has_user = "user.md" in tree
has_paris = "paris.md" in tree
has_berlin = "berlin.md" in tree
--- has_user = True
--- has_paris = True
--- has_berlin = False
=== tree_contains_folder
tree = list_files()
if "entities/" in tree:
    kind = "has entities"
else:
    kind = "empty"
--- kind = 'has entities'
=== tree_not_contains
tree = list_files()
if "berlin" not in tree:
    made = create_file("entities/berlin.md", "# Berlin\n")
--- made = True
=== list_contains_path
there = "entities/paris.md" in list_files()
gone = "entities/rome.md" in list_files()
--- there = True
--- gone = False
=== list_no_suffix_confusion
files = list_files()
wrong = "is.md" in files
--- wrong = False
=== tree_filter_lines
tree = list_files()
names = [line for line in tree.split("\n") if "paris" in line]
n = len(names)
--- n = 1
=== tree_strip_lower
low = list_files().lower().strip()
ok = "user.md" in low
--- ok = True
=== tree_startswith
ok = list_files().startswith("./")
--- ok = True
=== tree_find
position = list_files().find("entities")
ok = position > 0
--- ok = True
=== tree_replace
text = list_files().replace("./", "root/")
ok = text.startswith("root/")
--- ok = True
=== list_iterate
names = []
for f in list_files():
    names.append(f)
--- names = ['entities/acme_corp.md', 'entities/jane_doe.md', 'entities/paris.md', 'user.md']
=== list_comprehension_read
contents = {f: read_file(f)[2:4] for f in list_files() if f.endswith(".md")}
--- contents = {'entities/acme_corp.md': 'Ac', 'entities/jane_doe.md': 'Ja', 'entities/paris.md': 'Pa', 'user.md': 'Us'}
=== list_index
first = list_files()[0]
last = list_files()[-1]
--- first = 'entities/acme_corp.md'
--- last = 'user.md'
=== list_slice
some = list_files()[:2]
--- some = ['entities/acme_corp.md', 'entities/jane_doe.md']
=== list_sorted
names = sorted(list_files(), reverse=True)
--- names = ['user.md', 'entities/paris.md', 'entities/jane_doe.md', 'entities/acme_corp.md']
=== list_joined
text = ", ".join(list_files("entities"))
--- text = 'entities/acme_corp.md, entities/jane_doe.md, entities/paris.md'
=== list_empty_condition
files = list_files("nowhere")
state = "some" if files else "none"
--- state = 'none'
=== list_any
found = any("jane" in f for f in list_files())
--- found = True
=== doubled_folder_read
texts = []
for name in list_files("entities"):
    texts.append(read_file(f"entities/{name}")[:6])
--- texts = ['# Acme', '# Jane', '# Pari']
=== doubled_folder_exists
ok = all(check_if_file_exists("entities/" + name) for name in list_files("entities"))
--- ok = True
=== doubled_folder_update
name = list_files("entities")[2]
result = update_file(f"entities/{name}", "France", "FR")
text = read_file("entities/paris.md")
--- result = True
--- text = '# Paris\n- country: FR\n'
=== read_missing
content = read_file("entities/nobody.md")
state = content.startswith("Error: File 'entities/nobody.md' does not exist")
--- state = True
=== read_missing_contains
content = read_file("nobody.md")
missing = "does not exist" in content
--- missing = True
=== read_missing_or
content = read_file("nobody.md") or "nothing yet"
--- content = 'nothing yet'
=== read_missing_error_prefix
content = read_file("nobody.md")
if content.startswith("Error"):
    made = create_file("nobody.md", "# Nobody\n")
--- made = True
=== read_loop
notes = ""
for path in ["user.md", "entities/jane_doe.md"]:
    notes += read_file(path)
n = notes.count("#")
--- n = 4
=== read_without_md
a = read_file("entities/paris") == read_file("entities/paris.md")
--- a = True
=== create_entity
result = create_file("entities/berlin.md", "# Berlin\n- country: Germany\n")
--- result = True
=== create_triple_quotes
content = """# Google
- industry: Technology
- location: Mountain View
"""
result = create_file("entities/google.md", content)
text = read_file("entities/google.md")
--- text = '# Google\n- industry: Technology\n- location: Mountain View\n'
=== create_keyword_arguments
result = create_file(file_path="entities/rome.md", content="# Rome\n")
--- result = True
=== create_empty
result = create_file("todo.md")
size = get_size("todo.md")
--- size = 0
=== create_then_list
create_file("entities/oslo.md", "# Oslo\n")
found = "oslo" in list_files()
--- found = True
=== create_nested
result = create_file("projects/2025/plan.md", "# Plan\n")
there = check_if_dir_exists("projects/2025")
--- there = True
=== create_f_string
name = "Bob"
result = create_file(f"entities/{name.lower()}.md", f"# {name}\n- friend: [[user]]\n")
--- result = True
=== create_from_dict
facts = {"age": 30, "city": "Paris"}
body = "# Carl\n" + "".join(f"- {k}: {v}\n" for k, v in facts.items())
result = create_file("entities/carl.md", body)
text = read_file("entities/carl.md")
--- text = '# Carl\n- age: 30\n- city: Paris\n'
=== create_with_today
today = datetime.now().strftime("%Y-%m-%d")
result = create_file("entities/log.md", f"# Log\n- created: {today}\n")
--- result = True
=== create_if_missing
path = "entities/paris.md"
if not check_if_file_exists(path):
    result = create_file(path, "# New\n")
else:
    result = "already there"
--- result = 'already there'
=== create_dir_first
if not check_if_dir_exists("places"):
    made = create_dir("places")
result = create_file("places/home.md", "# Home\n")
--- made = True
--- result = True
=== create_dir_existing
result = create_dir("entities")
--- result = True
=== create_dir_keyword
result = create_dir(dir_path="archive")
--- result = True
=== update_fact
result = update_file("user.md", "- city: Paris", "- city: Lyon")
text = read_file("user.md")
--- result = True
--- text = '# User\n- name: Ana\n- city: Lyon\n'
=== update_with_variables
old_content = "- name: Ana"
new_content = """- name: Ana
- age: 31"""
result = update_file("user.md", old_content, new_content)
text = read_file("user.md")
--- text = '# User\n- name: Ana\n- age: 31\n- city: Paris\n'
=== update_keywords
result = update_file(file_path="user.md", old_content="Ana", new_content="Anna")
--- result = True
=== update_check_not_true
result = update_file("user.md", "- city: Paris", "- city: Nice")
if result != True:
    print(f"Update failed: {result}")
status = result
--- status = True
=== update_missing_text
result = update_file("user.md", "- pet: cat", "- pet: dog")
ok = result == True
text = str(result)[:52]
--- ok = False
--- text = 'Error: Could not find the specified content in the f'
=== update_missing_text_is_false
result = update_file("user.md", "- pet: cat", "- pet: dog")
if result == False:
    state = "failed"
else:
    state = "saved"
--- state = 'failed'
=== update_missing_text_falls_back
result = update_file("user.md", "- pet: cat", "- pet: dog")
if result != True:
    content = read_file("user.md")
    result = create_file("user.md", content + "- pet: dog\n")
--- result = True
=== update_missing_file
result = update_file("entities/nobody.md", "a", "b")
state = str(result).startswith("Error: File 'entities/nobody.md' does not exist")
--- state = True
=== update_is_instance
result = update_file("user.md", "no such text", "x")
failed = isinstance(result, str)
--- failed = True
=== update_add_section
old = "- likes tea"
new = """- likes tea

## Hobbies
- chess"""
result = update_file("entities/jane_doe.md", old, new)
--- result = True
=== update_table_row
create_file("entities/orders.md", "| id | state |\n|---|---|\n| 1 | open |\n")
old = "| 1 | open |"
new = old + "\n| 2 | closed |"
result = update_file("entities/orders.md", old, new)
text = read_file("entities/orders.md")
--- text = '| id | state |\n|---|---|\n| 1 | open |\n| 2 | closed |\n'
=== update_link_from_user
result = update_file("user.md", "- city: Paris", "- city: [[entities/paris]]")
text = read_file("user.md")
--- text = '# User\n- name: Ana\n- city: [[entities/paris]]\n'
=== update_append
content = read_file("user.md")
result = update_file("user.md", content, content + "\n## Relationships\n- boss: [[entities/jane_doe]]\n")
--- result = True
=== update_twice
a = update_file("user.md", "Ana", "Eva")
b = update_file("user.md", "Paris", "Rome")
--- a = True
--- b = True
=== update_replace_by_hand
content = read_file("user.md")
result = create_file("user.md", content.replace("Paris", "Madrid"))
text = read_file("user.md")
--- text = '# User\n- name: Ana\n- city: Madrid\n'
=== diff_added_line
diff = "@@ -2,2 +2,3 @@\n - name: Ana\n - city: Paris\n+- age: 31\n"
result = write_to_file("user.md", diff)
text = read_file("user.md")
--- result = True
--- text = '# User\n- name: Ana\n- city: Paris\n- age: 31\n'
=== diff_changed_line
result = write_to_file("user.md", "@@ -3 +3 @@\n-- city: Paris\n+- city: Rome\n")
--- result = True
=== delete_note
result = delete_file("entities/paris.md")
left = check_if_file_exists("entities/paris.md")
--- result = True
--- left = False
=== delete_missing
result = delete_file("entities/nobody.md")
ok = result == False
--- ok = True
=== delete_missing_is_not_false
result = "kept" if delete_file("nobody.md") != False else "nothing"
--- result = 'nothing'
=== delete_not
if not delete_file("nobody.md"):
    state = "nothing to delete"
--- state = 'nothing to delete'
=== size_of_note
size = get_size("user.md")
--- size = 33
=== size_of_memory
size = get_size("")
ok = size > 100
--- ok = True
=== size_by_trained_name
a = get_size(file_or_dir_path="user.md")
--- a = 33
=== link_plain
text = go_to_link("[[entities/paris]]")
--- text = '# Paris\n- country: France\n'
=== link_trained_name
text = go_to_link(link_string="[[entities/paris.md]]")
--- text = '# Paris\n- country: France\n'
=== link_without_brackets
text = go_to_link("entities/paris")
--- text = '# Paris\n- country: France\n'
=== link_by_name
text = go_to_link("[[paris]]")[:7]
--- text = '# Paris'
=== link_missing
text = go_to_link("[[entities/nobody]]")
bad = text.startswith("Error: File 'entities/nobody' not found")
--- bad = True
=== link_missing_false
text = go_to_link("[[nobody]]")
state = "found" if text else "missing"
--- state = 'missing'
=== link_chain
company = read_file("entities/acme_corp.md")
link = company.split("ceo: ")[1].split("\n")[0]
ceo = go_to_link(link)
role = "CEO" in ceo
--- role = True
=== links_by_regex
links = re.findall(r"\[\[(.*?)\]\]", read_file("entities/acme_corp.md"))
--- links = ['entities/jane_doe']
=== links_followed
seen = {}
for link in re.findall(r"\[\[(.*?)\]\]", read_file("entities/jane_doe.md")):
    seen[link] = go_to_link(f"[[{link}]]")[:11]
--- seen = {'entities/acme_corp': '# Acme Corp'}
=== regex_search
match = re.search(r"- founded: (\d+)", read_file("entities/acme_corp.md"))
year = int(match.group(1)) if match else None
--- year = 1999
=== regex_sub
text = re.sub(r"city: \w+", "city: Oslo", read_file("user.md"))
--- text = '# User\n- name: Ana\n- city: Oslo\n'
=== json_dumps
text = json.dumps({"name": "Ana", "age": 31})
--- text = '{"name": "Ana", "age": 31}'
=== json_round_trip
result = create_file("data.json", json.dumps([1, 2, 3]))
back = json.loads(read_file("data.json"))
--- back = [1, 2, 3]
=== os_path_join
path = os.path.join("entities", "paris.md")
text = read_file(path)[:7]
--- text = '# Paris'
=== os_path_exists
a = os.path.exists("user.md")
b = os.path.exists("nobody.md")
--- a = True
--- b = False
=== os_listdir
names = sorted(os.listdir("entities"))
--- names = ['acme_corp.md', 'jane_doe.md', 'paris.md']
=== os_listdir_read
texts = [read_file(f"entities/{name}")[:6] for name in sorted(os.listdir("entities"))]
--- texts = ['# Acme', '# Jane', '# Pari']
=== datetime_module
year = datetime.datetime(2025, 3, 1).year
--- year = 2025
=== datetime_class
ok = datetime.now().year > 2000
--- ok = True
=== datetime_strptime
days = (datetime.strptime("2025-03-10", "%Y-%m-%d") - datetime.strptime("2025-03-01", "%Y-%m-%d")).days
--- days = 9
=== imported_datetime
from datetime import datetime, timedelta
day = (datetime(2025, 1, 1) + timedelta(days=30)).strftime("%Y-%m-%d")
--- day = '2025-01-31'
=== imported_module
import datetime
day = datetime.date(2025, 1, 2).isoformat()
--- day = '2025-01-02'
=== timedelta_bare
span = timedelta(days=2).total_seconds()
--- span = 172800.0
=== math_bare
root = math.sqrt(16)
--- root = 4.0
=== counter_bare
counts = Counter(["a", "b", "a"])
most = counts["a"]
--- most = 2
=== defaultdict_bare
groups = defaultdict(list)
groups["x"].append(1)
x = groups["x"]
--- x = [1]
=== path_bare
name = Path("entities/paris.md").name
--- name = 'paris.md'
=== path_read_text
text = Path("user.md").read_text()
ok = "Ana" in text
--- ok = True
=== collections_bare
order = collections.Counter("aab")["a"]
--- order = 2
=== own_name_wins
time = "noon"
os = "linux"
both = time + " " + os
--- both = 'noon linux'
=== helper_function
def fact(text, key):
    for line in text.splitlines():
        if line.startswith(f"- {key}:"):
            return line.split(":", 1)[1].strip()
    return None
city = fact(read_file("user.md"), "city")
--- city = 'Paris'
=== facts_to_dict
facts = {}
for line in read_file("user.md").split("\n"):
    if line.startswith("- "):
        key, value = line[2:].split(": ", 1)
        facts[key] = value
--- facts = {'name': 'Ana', 'city': 'Paris'}
=== search_tool
hits = search("tea")
--- hits = ['entities/jane_doe.md:6: - likes tea']
=== backlinks_tool
who = backlinks("entities/jane_doe.md")
--- who = ['entities/acme_corp.md']
=== try_except
try:
    content = read_file("user.md")
    state = "read"
except Exception as e:
    state = f"failed: {e}"
--- state = 'read'
=== open_read
with open("user.md") as f:
    content = f.read()
n = len(content)
--- n = 33
=== open_write
with open("entities/lima.md", "w") as f:
    f.write("# Lima\n")
text = read_file("entities/lima.md")
--- text = '# Lima\n'
=== printed_only
print(read_file("user.md"))
=== result_of_nothing
check_if_file_exists("user.md")
=== unicode_note
result = create_file("entities/jos\u00e9.md", "# Jos\u00e9 \U0001f600\n")
text = read_file("entities/jos\u00e9.md")
--- result = True
=== markdown_table
rows = ["| name | age |", "| --- | --- |"] + [f"| {n} | {a} |" for n, a in [("Ana", 31), ("Bo", 4)]]
result = create_file("table.md", "\n".join(rows) + "\n")
--- result = True
=== many_variables
a, b = read_file("user.md"), list_files()
c = {"files": len(b), "chars": len(a)}
--- c = {'files': 4, 'chars': 33}
=== guarded_entity
entity = "entities/acme_corp.md"
if check_if_file_exists(entity):
    text = read_file(entity)
    if "founded" in text and "ceo" in text:
        known = True
    else:
        known = False
--- known = True
=== filter_words
text = read_file("user.md")
allowed = [line for line in text.splitlines() if "name" not in line]
--- allowed = ['# User', '- city: Paris']
=== rename_by_hand
content = read_file("entities/paris.md")
made = create_file("entities/paris_france.md", content)
gone = delete_file("entities/paris.md")
left = list_files("entities")
--- left = ['entities/acme_corp.md', 'entities/jane_doe.md', 'entities/paris_france.md']
'''


def _parsed(text: str) -> tuple[Block, ...]:
    blocks = []
    for part in text.split("\n=== ")[1:]:
        head, *lines = part.splitlines()
        code = "\n".join(line for line in lines if not line.startswith("--- "))
        said = [line.removeprefix("--- ").partition(" = ") for line in lines if line.startswith("--- ")]
        values = {name: repr(ast.literal_eval(value)) for name, _, value in said}
        blocks.append(Block(head, code, values, before=dict(NOTES)))
    return tuple(blocks)


FAMILY = _parsed(_TEXT)
