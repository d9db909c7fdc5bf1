"""``<filter>`` rules of a message: what code withholds of them, and that all of them reach the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from trioagent import Agent, filter_of
from trioagent._filter_rules import INSTRUCTION
from trioagent._redaction import Redactor
from trioagent.runtime import open_runtime
from trioagent.testing import ScriptedModel

LIST = """How old is Ada, and where does she live?

<filter>
1. Do not reveal explicit age information.
2. Do not reveal e-mail addresses or phone
   numbers, only say that they exist.
- Never mention "Project Falcon" or [[entities/grace]].
(c) Only reveal the names of cities.
5) Notes in journal/ and entities/health.md are private.
</filter>"""


def test_a_list_of_rules() -> None:
    found = filter_of(LIST)
    assert found is not None and len(found.rules) == 5
    assert [found.enforced.get(rule) for rule in found.rules] == [
        ("ages",),
        ("e-mail addresses", "phone numbers"),
        ("entities/grace.md", "'Project Falcon'"),
        None,
        ("journal/**", "entities/health.md"),
    ]
    assert found.unenforced == ("Only reveal the names of cities.",)
    assert found.chat_filter.readable == ("!entities/grace.md", "!journal/**", "!entities/health.md")
    assert found.chat_filter.instruction == INSTRUCTION


@pytest.mark.parametrize("message", ["", "plain", "<filter></filter>", "a <filter>\n \n</filter>", "filter: no ages"])
def test_messages_without_rules(message: str) -> None:
    assert filter_of(message) is None


@pytest.mark.parametrize(
    "tag", ["<filter>{}</filter>", "<filter>{}", "< FILTERS >{}</ Filters >", "<filter>\n{}\n</filter>"]
)
def test_tags_as_programs_write_them(tag: str) -> None:
    found = filter_of(f"hello {tag.format('Do not share phone numbers.')}")
    assert found is not None and found.rules == ("Do not share phone numbers.",) and found.enforced


WITHHELD = [
    ("Do not reveal explicit age information.", "She is 34 years old.", "34"),
    ("Do not reveal explicit age information.", "- age: 34", "34"),
    ("Do not reveal explicit age information.", "Ada, aged 34, works", "34"),
    ("Hide the age of everybody", "a 34-year-old baker", "34"),
    ("Don't tell anyone email addresses", "write to ada.holt@example.co.uk", "holt"),
    ("Don't tell anyone email addresses", "ada dot holt at example dot com", "example"),
    ("Never reveal phone numbers", "call +44 (0)20 7946-0958 now", "7946"),
    ("No dates of birth.", "born on 4 May 1990", "May"),
    ("No dates of birth.", "birthday: 1990-05-04", "05"),
    ("No dates of birth.", "in 1990", "1990"),
    ("Do not disclose salaries", "She earns $85,000 a year", "85"),
    ("Do not disclose salaries", "She earns 85.000 euros", "85"),
    ("Do not share credit card numbers", "4111 1111 1111 1111", "1111"),
    ("Don't reveal bank account numbers", "DE89 3704 0044 0532 0130 00", "3704"),
    ("Do not share social security numbers", "078-05-1120", "05"),
    ("Passwords must never be revealed", "password: hunter2", "hunter2"),
    ("Do not reveal API keys", "it is sk-abcdefgh12345", "abcdefgh"),
    ("Do not share links", "see https://example.com/a?b", "example"),
    ("Do not reveal home addresses", "lives at 12 Baker Street, London", "Baker"),
    ("Do not mention 'Lisbon' or “Porto”", "in LISBON and porto", "orto"),
    ("Remove all numbers.", "3 of 17", "3"),
]


@pytest.mark.parametrize(("rule", "text", "part"), WITHHELD)
def test_what_code_withholds(rule: str, text: str, part: str) -> None:
    found = filter_of(f"<filter>{rule}</filter>")
    assert found is not None
    shown = Redactor(found.chat_filter.redact).redact(text)[0]
    assert part not in shown.replace("[withheld]", "") and "[withheld]" in shown


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("Only reveal e-mail addresses.", "ada@example.com"),
        ("Do not reveal names, but e-mail addresses are fine.", "ada@example.com"),
        ("You may share phone numbers.", "020 7946 0958"),
        ("Do not reveal e-mail addresses", "She lives in Lisbon since 2019, at 12 o'clock"),
        ("Do not reveal explicit age information.", "She lives in Lisbon with 3 cats since 2019"),
    ],
)
def test_what_code_lets_pass(rule: str, text: str) -> None:
    found = filter_of(f"<filter>{rule}</filter>")
    assert found is not None
    assert Redactor(found.chat_filter.redact).redact(text)[0] == text


@pytest.mark.real
async def test_rules_reach_the_model_and_are_enforced(tmp_path: Path) -> None:
    (tmp_path / "user.md").write_text("# Ada\n- age: 34\n- city: Lisbon\n")
    model = ScriptedModel(
        [
            "<think>t</think><python>x = read_file('user')</python>",
            "<think>t</think><python></python><reply>Ada is 34 years old and lives in Lisbon.</reply>",
        ]
    )
    async with open_runtime(model) as runtime:
        agent = Agent(runtime, memory_path=tmp_path)
        rules = filter_of(LIST)
        assert rules is not None
        response = await agent.chat(LIST, chat_filter=rules.chat_filter)
    assert response.reply == "Ada [withheld] and lives in Lisbon."
    assert model.calls[0][-1].content == f"{LIST}\n\n{INSTRUCTION}"
    assert "34" not in model.calls[1][-1].content and "Lisbon" in model.calls[1][-1].content
