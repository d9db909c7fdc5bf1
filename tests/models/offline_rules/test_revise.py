"""Corrections replace what the notes say, and what is to be forgotten is gone."""

from __future__ import annotations

import pytest

from .conversation import Conversation

USER = """# Ada Hill

## Basic Information
- **Age**: 31
- **Occupation**: Tram Driver
- **Favorite Food**: Pho
- **Likes**: figs, jazz, chess
- **Shift**: Morning
- **Years Of Experience**: 12
- **Languages Spoken**: Dutch, Greek
- **Hobby**: Astronomy
- **City**: Oslo

## Relationships
- **Trains_With**: [[joe_hill.md]]
- **Works_At**: [[red_depot.md]]
"""
JOE = "# Joe Hill\n\n## Basic Information\n- **Type**: Person\n\n## Relationships\n- **Trains_With**: [[ada_hill.md]]\n"
DEPOT = "# Red Depot\n\n- **Type**: Entity\n- **Works_At**: [[ada_hill.md]]\n- **Supplies**: [[joe_hill.md]]\n"


@pytest.fixture
def ada(chat: Conversation) -> Conversation:
    chat.write("user.md", USER)
    chat.write("entities/joe_hill.md", JOE)
    chat.write("entities/red_depot.md", DEPOT)
    return chat


@pytest.mark.parametrize(
    ("said", "old", "new"),
    [
        ("I moved to Berlin", "**City**: Oslo", "**City**: Berlin"),
        ("I moved from Oslo to Berlin", "**City**: Oslo", "**City**: Berlin"),
        ("Actually my favourite food is Laksa", "Food**: Pho", "Food**: Laksa"),
        ("My favorite food is Laksa, not Pho", "Food**: Pho", "Food**: Laksa"),
        ("My favorite food is not Pho but Laksa", "Food**: Pho", "Food**: Laksa"),
        ("My age should be changed from 31 to 32", "Age**: 31", "Age**: 32"),
        ("I need to update my age - I'm 32 now, not 31 as currently listed.", "Age**: 31", "Age**: 32"),
        ("I've switched from the morning shift to the evening shift", "Shift**: Morning", "Shift**: Evening"),
        ("I actually have 15 years of experience, not the 12 that are listed", "Experience**: 12", "Experience**: 15"),
        (
            "I'm no longer a tram driver, I've been promoted to Depot Manager",
            "Tram Driver",
            "Occupation**: Depot Manager",
        ),
        ("I've moved on from astronomy and now I'm really into pottery", "Astronomy", "Hobby**: Pottery"),
        ("I speak Dutch and Czech, not Greek", "Dutch, Greek", "Spoken**: Dutch, Czech"),
        ("I changed jobs, I now work at Blue Depot", "red_depot", "**Works_At**: [[blue_depot.md]]"),
    ],
)
def test_a_correction_replaces_the_old_value(ada: Conversation, said: str, old: str, new: str) -> None:
    assert "Changed" in ada.say(said)
    assert old not in ada.note("user.md")
    assert new in ada.note("user.md")
    assert len(ada.note("user.md").splitlines()) == len(USER.splitlines())


def test_a_relation_is_moved_with_its_link_back(ada: Conversation) -> None:
    ada.say("I'm no longer training with Joe Hill, but I've started training with Dr. Mia Stone instead.")
    assert "- **Trains_With**: [[dr._mia_stone.md]]" in ada.note("user.md")
    mia = ada.note("entities/dr._mia_stone.md")
    assert "# Dr. Mia Stone" in mia
    assert "- **Type**: Person" in mia
    assert "- **Trains_With**: [[ada_hill.md]]" in mia
    assert "ada_hill" not in ada.note("entities/joe_hill.md")


def test_a_relation_between_others_is_moved(ada: Conversation) -> None:
    ada.say("Joe Hill is now supplied by Blue Depot instead of Red Depot.")
    assert "- **Supplies**: [[joe_hill.md]]" in ada.note("entities/blue_depot.md")
    assert "joe_hill" not in ada.note("entities/red_depot.md")


def test_a_relation_of_someone_else_is_moved_with_its_link_back(chat: Conversation) -> None:
    chat.tell("My sister Grace works at Acme Corp.", "Grace no longer works at Acme Corp, she now works at Initech.")
    assert "- **Works At**: [[entities/initech]]" in chat.note("entities/grace.md")
    assert "- **Employee**: [[entities/grace]]" in chat.note("entities/initech.md")
    assert "grace" not in chat.note("entities/acme_corp.md")


def test_no_longer_takes_the_line_and_its_link_back_out(ada: Conversation) -> None:
    assert "Removed" in ada.say("I no longer work at Red Depot")
    assert "red_depot" not in ada.note("user.md")
    assert "ada_hill" not in ada.note("entities/red_depot.md")


def test_only_the_item_of_a_list_goes(ada: Conversation) -> None:
    ada.say("I don't like jazz anymore")
    assert "- **Likes**: figs, chess\n" in ada.note("user.md")


def test_a_correction_of_what_is_not_there_is_noted_as_a_fact(ada: Conversation) -> None:
    ada.say("My favourite colour is green, not blue")
    assert "- **Favourite Colour**: green\n" in ada.note("user.md")


@pytest.mark.parametrize(
    ("said", "gone", "kept"),
    [
        ("forget my age", "Age", "Tram Driver"),
        ("forget my job", "Tram Driver", "Age"),
        ("Please delete my favourite food", "Pho", "Likes"),
        ("forget that I like jazz", "jazz", "figs, chess"),
        ("forget everything about Joe Hill", "joe_hill", "red_depot"),
        ("delete what you know about Joe Hill", "joe_hill", "red_depot"),
    ],
)
def test_what_is_forgotten_is_gone_and_named(ada: Conversation, said: str, gone: str, kept: str) -> None:
    assert "Removed" in ada.say(said)
    assert gone not in ada.note("user.md")
    assert kept in ada.note("user.md")


def test_forgetting_someone_deletes_the_note_and_every_link(ada: Conversation) -> None:
    ada.say("forget everything about Joe Hill")
    assert sorted(path.name for path in ada.root.rglob("*.md")) == ["red_depot.md", "user.md"]
    assert "joe_hill" not in ada.note("user.md") + ada.note("entities/red_depot.md")


def test_forgetting_everything_leaves_no_note(ada: Conversation) -> None:
    ada.say("Forget everything")
    assert list(ada.root.rglob("*.md")) == []


@pytest.mark.parametrize(
    "said", ["forget my shoe size", "forget that I like opera", "forget Zed", "I no longer own a boat"]
)
def test_forgetting_the_unknown_changes_nothing_and_says_so(ada: Conversation, said: str) -> None:
    assert "found nothing" in ada.say(said)
    assert ada.note("user.md") == USER
