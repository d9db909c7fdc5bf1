"""A fact is found in other words, and not where only its everyday words are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent.sft._words import words_in, words_of


@pytest.mark.parametrize(
    ("fact", "text"),
    [
        ("I live in Porto.", "- **Lives In**: porto"),
        ("My sister Ada lives in Rome.", "- **Sister**: [[entities/ada_holt]]\n- **Location**: Rome"),
        ("I am allergic to walnuts.", "Allergies: walnut"),
        ("I have two dogs.", "- **Dogs**: 2"),
        ("I was born on 5 March 1990.", "- **Birthday**: 1990-03-05"),
        ("I broke my left arm in 2019 while climbing Mont Blanc.", "2019: broken left arm (Mont Blanc, climbing)"),
        ("José's bakery is in Málaga.", "- **Bakery Of Jose**: Malaga"),
        ("I'm a baker.", "Occupation: bakers"),
        ("I speak Arabic and French.", "- **Languages**: Arabic, French"),
        ("My favourite colour is blue.", "- **Favourite Colour**: blue"),
        ("It is what it is.", "it is what it is"),
    ],
)
def test_stated(fact: str, text: str) -> None:
    assert words_of(fact).missing(words_in([text])) == []


@pytest.mark.parametrize(
    ("fact", "text", "missing"),
    [
        ("I live in Porto.", "I live in Lisbon.", ["porto"]),
        ("I have two dogs.", "I have dogs.", ["2"]),
        ("I was born on 5 March 1990.", "born 1990-04-05", ["march"]),
        ("My sister Ada lives in Rome.", "Ada is my sister.", ["rome"]),
        ("I am allergic to walnuts.", "Allergies: peanuts", ["walnut"]),
        ("I play the cello.", "I play the piano.", ["cello"]),
        ("I collect old stamps and coins.", "I collect things.", ["coin", "stamp"]),
    ],
)
def test_not_stated(fact: str, text: str, missing: list[str]) -> None:
    assert words_of(fact).missing(words_in([text])) == missing


def test_names_and_numbers_are_strong() -> None:
    words = words_of("My friend Ada Holt paid 300 euros in Rome. Rex barked.")
    assert words.strong == {"ada", "holt", "300", "rom"} or words.strong == {"ada", "holt", "300", "rome"}
    assert "rex" in words.plain  # it only begins a sentence


@given(st.text(max_size=200))
def test_every_text_states_itself(text: str) -> None:
    words = words_of(text)
    assert not words or words.missing(words_in([text])) == []
