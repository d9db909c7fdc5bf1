"""Statements become lines of notes, in the place where they belong."""

from __future__ import annotations

import pytest

from .conversation import Conversation


@pytest.mark.parametrize(
    ("said", "note", "lines"),
    [
        ("My name is Ada and I live in London.", "user.md", ["# Ada", "- **Name**: Ada", "- **Lives In**: London"]),
        ("I'm called Ada", "user.md", ["- **Name**: Ada"]),
        ("My favourite tea is oolong", "user.md", ["- **Favourite Tea**: oolong"]),
        ("I'm 34 and I love hiking, jazz and figs", "user.md", ["- **Age**: 34", "- **Likes**: hiking, jazz, figs"]),
        ("I just turned 32!", "user.md", ["- **Age**: 32"]),
        ("I hate olives but love figs", "user.md", ["- **Dislikes**: olives", "- **Likes**: figs"]),
        ("I don't like olives", "user.md", ["- **Dislikes**: olives"]),
        ("I am allergic to peanuts.", "user.md", ["- **Allergies**: peanuts"]),
        ("my birthday is May 6", "user.md", ["- **Birthday**: May 6"]),
        ("I was born in Oslo on May 6, 1990", "user.md", ["- **Birthplace**: Oslo", "- **Birthday**: May 6, 1990"]),
        (
            "I have a dentist appointment on 2026-03-02",
            "user.md",
            ["## Dates", "- **Dentist Appointment**: 2026-03-02"],
        ),
        ("I have 2 children", "user.md", ["- **Children**: 2"]),
        ("I have a dog named Rex", "user.md", ["- **Pet**: dog named Rex"]),
        ("I speak Dutch and Greek", "user.md", ["- **Languages Spoken**: Dutch and Greek"]),
        ("I'm a vegetarian", "user.md", ["- **Diet**: vegetarian"]),
        ("Remember that the key is under the mat", "user.md", ["## Notes", "- the key is under the mat"]),
        (
            "I work as a nurse at Hill Clinic",
            "user.md",
            ["- **Occupation**: nurse", "- **Works At**: [[entities/hill_clinic]]"],
        ),
        ("I work as a nurse at Hill Clinic", "entities/hill_clinic.md", ["# Hill Clinic", "- **Employee**: [[user]]"]),
        (
            "I have two sisters, Mia and Bea",
            "user.md",
            ["- **Sister**: [[entities/mia]]", "- **Sister**: [[entities/bea]]"],
        ),
        ("my boss's name is Carl", "entities/carl.md", ["# Carl", "- **Type**: Person", "- **Boss Of**: [[user]]"]),
        (
            "My neighbour is Bob Smith, he is 45",
            "entities/bob_smith.md",
            ["- **Age**: 45", "- **Neighbour Of**: [[user]]"],
        ),
        ("Initech was founded in 1999", "entities/initech.md", ["- **Founded**: 1999"]),
        ("Bob's wife is Carol", "entities/carol.md", ["- **Wife Of**: [[entities/bob]]"]),
        ("My sister lives in Rome", "entities/sister.md", ["- **Lives In**: Rome"]),
    ],
)
def test_a_statement_is_noted(chat: Conversation, said: str, note: str, lines: list[str]) -> None:
    assert "Noted" in chat.say(said)
    text = chat.note(note).splitlines()
    assert [line for line in lines if line not in text] == []


def test_a_relation_is_linked_both_ways_with_all_its_facts(chat: Conversation) -> None:
    chat.say("My sister Grace works at Acme Corp in Berlin.")
    assert "- **Sister**: [[entities/grace]]" in chat.note("user.md")
    grace = chat.note("entities/grace.md")
    assert "- **Sister Of**: [[user]]" in grace
    assert "- **Works At**: [[entities/acme_corp]]" in grace
    assert "- **Based In**: Berlin" in grace
    assert "- **Employee**: [[entities/grace]]" in chat.note("entities/acme_corp.md")


def test_he_and_she_mean_who_was_named_last(chat: Conversation) -> None:
    chat.tell("Mia is a nurse. She is 31 and lives in Bonn.")
    assert "- **Age**: 31" in chat.note("entities/mia.md")
    assert "- **Lives In**: Bonn" in chat.note("entities/mia.md")


def test_someone_known_by_relation_gets_a_name_later(chat: Conversation) -> None:
    chat.tell("My dad lives in Rome", "my dad's name is Carlo")
    assert "- **Dad**: [[entities/carlo]]" in chat.note("user.md")
    assert "- **Lives In**: Rome" in chat.note("entities/carlo.md")
    assert not (chat.root / "entities/dad.md").exists()


@pytest.mark.parametrize(
    "said",
    ["Hello!", "thanks a lot", "What is my name?", "write me a poem", "what is 2+2?", "I had a bad day", "Stop!"],
)
def test_talk_questions_and_tasks_are_not_noted(chat: Conversation, said: str) -> None:
    chat.say(said)
    assert list(chat.root.rglob("*.md")) == []


def test_what_is_known_already_is_not_written_twice(chat: Conversation) -> None:
    chat.tell("I like figs", "My sister is Mia")
    before = chat.note("user.md"), chat.note("entities/mia.md")
    assert "had that already" in chat.say("I like figs")
    assert "had that already" in chat.say("My sister is Mia")
    assert (chat.note("user.md"), chat.note("entities/mia.md")) == before


def test_a_fact_goes_to_the_note_that_already_holds_it_in_its_own_words(chat: Conversation) -> None:
    chat.write("user.md", "# Ada\r\n\r\nnot: a fact\r\n- job: cook\r\n* **City:** Oslo\r\n")
    chat.tell("I work as a baker", "I live in Rome")
    assert (chat.root / "user.md").read_bytes() == b"# Ada\r\n\r\nnot: a fact\r\n- job: baker\r\n* **City:** Rome\r\n"


def test_links_are_written_the_way_the_note_writes_them(chat: Conversation) -> None:
    chat.write("user.md", "# Ada\n\n## Relationships\n- **Assists**: [[joe_hill.md]]\n")
    chat.write("entities/joe_hill.md", "# Joe Hill\n")
    chat.say("My sister is Mia Hill")
    assert "- **Sister**: [[mia_hill.md]]" in chat.note("user.md")
