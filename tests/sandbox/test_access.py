"""A policy in every tier: what may not be read is in no view, and what may not be written is refused at once."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trioagent.memory import Memory, VaultPolicy
from trioagent.sandbox import Sandbox, look_for_hidden, open_sandbox
from trioagent.sandbox._hidden_names import HiddenNames
from trioagent.tools import DEFAULT_RULES

from .tiers import TIERS

pytestmark = pytest.mark.real

WITHHELD = {
    "journal/2024/may.md": "withheld words",
    "journal/ada.md": "withheld words [[entities/ada]]",
    "secret.md": "withheld words",
    "entities/private/health.md": "withheld words",
    "Journal.md": "withheld words",
}
SHOWN = {"user.md": "# Ada\n- city: London\n", "entities/ada.md": "# Ada\n", "notes/a.md": "a"}
POLICY = VaultPolicy(readable=("user.md", "entities/**", "notes/*", "!entities/Private/**"), writable=("entities/**",))


@pytest.fixture(params=TIERS)
async def every(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    async with open_sandbox(tier=request.param) as sandbox:
        yield sandbox


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    for name, text in {**WITHHELD, **SHOWN}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def contents(vault: Path) -> dict[str, str]:
    return {str(path.relative_to(vault)): path.read_text() for path in vault.rglob("*") if path.is_file()}


LOOK = """
import os
walked = sorted(os.path.join(here, name)[2:] for here, folders, files in os.walk(".") for name in folders + files)
listed, found, size = list_files(), search("withheld words"), get_size()
links = backlinks("entities/ada")
linked = go_to_link("[[secret]]")
opened = []
for path in {paths}:
    for read in (lambda: open(path).read(), lambda: os.stat(path), lambda: os.listdir(os.path.dirname(path) or "x")):
        try:
            opened.append(read())
        except FileNotFoundError:
            pass
said = [read_file(path) for path in {paths}]
there = [check_if_file_exists(path) for path in {paths}] + [check_if_dir_exists("journal"), list_files("journal")]
"""


async def test_what_may_not_be_read_is_in_no_view(every: Sandbox, vault: Path) -> None:
    memory = Memory(vault, policy=POLICY)
    paths = [path for path in WITHHELD if path != "entities/private/health.md"]
    result = await every.run(LOOK.replace("{paths}", repr(paths)), memory=memory)
    assert result.error == ""
    shown = sorted(SHOWN) if every.tier == "monty" else [*sorted({"entities", "notes", *SHOWN})]
    assert eval(result.locals["walked"]) == shown or every.tier == "monty"
    assert eval(result.locals["listed"]) == sorted(SHOWN)
    assert result.locals["found"] == result.locals["links"] == result.locals["opened"] == "[]"
    assert int(result.locals["size"]) == sum(len(text.encode()) for text in SHOWN.values())
    for words in eval(result.locals["said"]):
        assert (
            words.startswith("Error") and "may not be read here: only notes that match user.md or entities/**" in words
        )
    assert "True" not in result.locals["there"]
    assert "withheld" not in json.dumps([result.locals, result.printed])


async def test_the_words_are_the_same_whether_a_note_is_there(every: Sandbox, vault: Path) -> None:
    memory = Memory(vault, policy=POLICY)
    there = await every.run("x = read_file('journal/ada.md')", memory=memory)
    missing = await every.run("x = read_file('journal/eva.md')", memory=memory)
    assert there.locals["x"].replace("ada", "eva") == missing.locals["x"]
    excepted = await every.run("x = read_file('entities/PRIVATE/x')", memory=memory)
    assert "but not entities/Private/**" in excepted.locals["x"]


AT_ONCE = [
    ("x = create_file('user.md', 'x')", "only notes that match entities/** may be written"),
    ("x = update_file('user.md', 'London', 'Rome')", "only notes that match entities/** may be written"),
    ("x = delete_file('user.md')", "only notes that match entities/** may be written"),
    ("x = create_file('journal/ada.md', 'x')", "what may not be read cannot be written either"),
    ("x = create_file('secret', 'x')", "may not be read here"),
    ("x = create_dir('journal/2024')", "may not be read here"),
    ("x = write_to_file('notes/a.md', '@@ -1 +1 @@\\n-a\\n+b\\n')", "only notes that match entities/**"),
    ("x = create_file('entities/.obsidian/app.json', 'x')", "is a hidden name"),
]


async def test_tools_refuse_at_once(every: Sandbox, vault: Path) -> None:
    before = contents(vault)
    for code, words in AT_ONCE:
        result = await every.run(code, memory=Memory(vault, policy=POLICY))
        assert result.error == "" and not result.saved, code
        assert words in result.locals["x"] and result.locals["x"].startswith(("'Error", '"Error')), code
        assert contents(vault) == before, code


AT_THE_COMMIT = [
    "open('user.md', 'w').write('x')",
    "open('secret.md', 'w').write('x')",
    "import os\nos.remove('user.md')",
    "import os\nos.rename('entities/ada.md', 'ada.md')",
    "import os\nos.makedirs('journal/2024')\nopen('journal/2024/may.md', 'w').write('x')",
    "import os\nos.remove('entities/ada.md')\nos.rmdir('entities')",
    "import os\nos.rename('entities', 'people')",
    "open('entities/private', 'w').write('x')",
]


async def test_the_commit_refuses_whatever_a_block_calls(every: Sandbox, vault: Path) -> None:
    before = contents(vault)
    for code in AT_THE_COMMIT:
        result = await every.run(code, memory=Memory(vault, policy=POLICY))
        assert result.error and not result.saved, code
        assert "health" not in result.error and "withheld" not in result.error, code
        assert contents(vault) == before, code


async def test_what_may_be_written_is_saved(every: Sandbox, vault: Path) -> None:
    before = contents(vault)
    code = "create_file('entities/eva', 'x')\ntext = read_file('entities/ada')\ncreate_file('entities/ada', text + 'y')"
    result = await every.run(code, memory=Memory(vault, policy=POLICY))
    assert result.saved, result.error
    assert contents(vault) == {**before, "entities/eva.md": "x", "entities/ada.md": "# Ada\ny"}


async def test_many_notes_that_may_not_be_read(every: Sandbox, vault: Path) -> None:
    for number in range(400):
        (vault / f"withheld{number}.md").write_text("withheld words")
    result = await every.run("listed, found = list_files(), search('withheld')", memory=Memory(vault, policy=POLICY))
    assert eval(result.locals["listed"]) == sorted(SHOWN) and result.locals["found"] == "[]"


async def test_read_only(every: Sandbox, vault: Path) -> None:
    memory = Memory(vault, policy=VaultPolicy(read_only=True))
    result = await every.run("x = create_file('a.md', 'x'), read_file('user.md')", memory=memory)
    assert "the memory is read-only" in result.locals["x"] and "London" in result.locals["x"]
    result = await every.run("open('a.md', 'w').write('x')", memory=memory)
    assert "read-only" in result.error and not (vault / "a.md").exists()


async def test_limits_do_not_name_what_may_not_be_read(every: Sandbox, vault: Path) -> None:
    (vault / "secret.md").write_text("x" * 50_000)
    from trioagent import MemoryLimits

    memory = Memory(vault, policy=POLICY, limits=MemoryLimits(total_bytes=60_000))
    result = await every.run("create_file('entities/eva', 'x' * 20000)", memory=memory)
    assert "MemoryLimits.total_bytes" in result.error and "secret" not in result.error


async def test_a_vault_that_can_only_be_read(every: Sandbox, vault: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    os.chmod(vault, 0o555)
    try:
        result = await every.run("x = read_file('user.md')", memory=Memory(vault))
        assert "London" in result.locals["x"]
    finally:
        os.chmod(vault, 0o755)


async def test_what_is_left_out_of_a_large_memory_is_kept_up_to_date(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / "people" / f"g{number % 10}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "people" / f"g{number % 10}" / f"{number}.md").write_text("x")
    rules = DEFAULT_RULES._replace(readable=(("people/**", "!people/g1/**", "!**/not*.md"),))
    names = HiddenNames()
    try:
        async with Memory(tmp_path).lease() as lease:

            async def left_out() -> set[str]:
                found = await names.find(lease.root_fd, rules)
                assert found is not None and set(found) == look_for_hidden(lease.root_fd, rules=rules)
                return set(found)

            assert await left_out() == {"people/g1"}
            (tmp_path / "people" / "g2" / "not this.md").write_text("x")
            (tmp_path / "people" / "g2" / ".hidden.md").write_text("x")
            (tmp_path / "other.md").write_text("x")
            assert await left_out() == {"people/g1", "people/g2/not this.md", "people/g2/.hidden.md", "other.md"}
            (tmp_path / "people" / "g2" / "not this.md").rename(tmp_path / "people" / "g2" / "this.md")
            (tmp_path / "people" / "g2" / ".hidden.md").unlink()
            (tmp_path / "journal").mkdir()
            assert await left_out() == {"people/g1", "other.md", "journal"}
            (tmp_path / "journal" / "may.md").write_text("x")
            (tmp_path / "journal" / ".hidden").write_text("x")
            assert await left_out() == {"people/g1", "other.md", "journal"}
            (tmp_path / "people" / "g3").rename(tmp_path / "people" / "not a note")
            assert await left_out() == {"people/g1", "other.md", "journal"}
            assert await names.find(lease.root_fd) == ["journal/.hidden"]
    finally:
        names.close()
