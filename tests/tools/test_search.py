"""Search: which lines come first, and what counts as the same word."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent.tools._text import fold, nearest, squash
from trioagent.tools.search import CONSIDERED, Query, stem

from .conftest import Memory


@pytest.fixture
def notes(memory: Memory) -> Memory:
    memory.put(
        "user.md", "# User\n- name: Ana Müller\n- city: Paris\n- employer: [[acme_corp]]\n- allergies: peanuts\n"
    )
    memory.put("entities/acme_corp.md", "# Acme Corp\n## Facts\n- founded: 1999\n- city: Lyon\n## People\n- boss: Bo\n")
    memory.put(
        "entities/bo.md", "# Bo\n- born: 1970\n- city: Paris\n- he likes running and city walks in the old city\n"
    )
    memory.put("entities/empty.md", "")
    return memory


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("when was acme founded", "entities/acme_corp.md:3: - founded: 1999"),
        ("acme city", "entities/acme_corp.md:4: - city: Lyon"),
        ("Bo's city", "entities/bo.md:3: - city: Paris"),
        ("allergy", "user.md:5: - allergies: peanuts"),
        ("allergic", "user.md:5: - allergies: peanuts"),
        ("employees", "user.md:4: - employer: [[acme_corp]]"),
        ("MULLER", "user.md:2: - name: Ana Müller"),
        ("run", "entities/bo.md:4: - he likes running and city walks in the old city"),
        ("cities", "entities/acme_corp.md:4: - city: Lyon"),
        ("old city", "entities/bo.md:4: - he likes running and city walks in the old city"),
        ("people boss", "entities/acme_corp.md:6: - boss: Bo"),
        ("acme_corp", "entities/acme_corp.md:1: # Acme Corp"),
        ("where is it", None),
        ("xylophone", None),
    ],
)
def test_the_best_line(notes: Memory, query: str, first: str | None) -> None:
    hits = notes.search(query)
    assert (hits[0] if hits else None) == first


def test_hits_name_notes_that_can_be_read(notes: Memory) -> None:
    hits = notes.search("city")
    assert len(hits) == 4 and len(set(hits)) == 4
    for hit in hits:
        path, line, text = hit.split(":", 2)
        assert notes.read_file(path).split("\n")[int(line) - 1].strip() == text.strip()


def test_a_note_is_found_by_its_name_alone(notes: Memory) -> None:
    notes.put("trips/iceland_2023.md", "\n\nWe saw whales.\n")
    notes.put("trips/empty_oman.md", "")
    assert notes.search("iceland") == ["trips/iceland_2023.md:3: We saw whales."]
    assert notes.search("oman") == ["trips/empty_oman.md:1: "]


def test_a_phrase_comes_first(memory: Memory) -> None:
    memory.put("a/new_york_moved.md", "# New York\n- york: new, moved\n")
    memory.put("b.md", "He moved to New  York in May\n")
    assert memory.search("moved to New York")[0] == "b.md:1: He moved to New  York in May"


def test_rare_words_weigh_more(memory: Memory) -> None:
    for i in range(30):
        memory.put(f"n{i}.md", "- favourite city here\n")
    memory.put("z.md", "- favourite zither\n")
    assert memory.search("favourite city zither")[0] == "z.md:1: - favourite zither"


def test_the_limit(notes: Memory) -> None:
    assert len(notes.search("city", 2)) == 2
    assert notes.search("city", 2) == notes.search("city")[:2]
    assert len(notes.search("city", 10**9)) == 4
    bad: object
    for bad in (0, -1, "5", None, 2.5, True):
        answer: object = notes.search("city", bad)
        assert answer == [] and "limit must be a whole number above 0" in repr(answer)


@pytest.mark.parametrize("query", ["", "  ", "?!", None, 5])
def test_a_query_needs_words(notes: Memory, query: str) -> None:
    answer: object = notes.search(query)
    assert answer == [] and "Error: " in repr(answer)


def test_long_lines_are_shown_around_the_hit(memory: Memory) -> None:
    memory.put("a.md", "x " * 1000 + "needle " + "y " * 1000)
    (hit,) = memory.search("needle")
    assert "needle" in hit and len(hit) < 350 and hit.startswith("a.md:1: …") and hit.endswith("…")


def test_scripts_without_blanks(memory: Memory) -> None:
    memory.put("a.md", "彼女は東京に住んでいる\n")
    assert memory.search("東京") == ["a.md:1: 彼女は東京に住んでいる"]
    memory.put("b.md", "Она живёт в Берлине\n")
    assert memory.search("ЖИВЕТ") == ["b.md:1: Она живёт в Берлине"]


def test_more_notes_than_are_looked_at_closely(memory: Memory) -> None:
    for i in range(CONSIDERED + 50):
        memory.put(f"n{i:04}.md", "a plain city line\n")
    memory.put("zz_city.md", "a plain city line\n")
    assert memory.search("city")[0] == "zz_city.md:1: a plain city line"
    assert len(memory.search("city", 1000)) == CONSIDERED + 51


def test_notes_that_are_not_utf8_are_searched(memory: Memory) -> None:
    memory.put("a.md", b"caf\xe9\r\nneedle\r\n")
    assert memory.search("needle") == ["a.md:2: needle"]


@pytest.mark.parametrize(
    ("words", "same"),
    [
        ("city cities", True),
        ("live lives lived living", True),
        ("run running runs", True),
        ("stop stopped", True),
        ("box boxes", True),
        ("class classes", True),
        ("call calling called", True),
        ("bus", True),
        ("sing", True),
        ("king ring", False),
        ("red read", False),
    ],
)
def test_stems(words: str, same: bool) -> None:
    assert (len({stem(word) for word in words.split()}) == 1) is same
    for word in words.split():  # the search's first pass looks for these parts without stemming
        (part,) = Query(word).parts
        assert all(part in other for other in words.split() if stem(other) == stem(word))


def test_folding_twice_changes_no_character() -> None:
    characters = (chr(number) for number in range(sys.maxunicode + 1) if not 0xD800 <= number < 0xE000)
    assert not [character for character in characters if fold(fold(character)) != fold(character)]
    assert fold("\N{MATHEMATICAL FRAKTUR CAPITAL A}") == "a"


@given(st.text(max_size=30), st.text(max_size=30))
def test_folding_and_nearness_are_total(text: str, other: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert set(nearest(text, [(other, "x")])) <= {"x"}
    if squash(text):
        assert nearest(text, [(text, "same")]) == ["same"]
    Query(text).hits(fold(other))


def test_the_answer_comes_before_the_question(memory: Memory) -> None:
    """Chats: who answers repeats fewer of the words than who asks."""
    memory.put("chat.md", "- Ada: Which harbour did you sail to?\n- Bo: To the harbour of Valletta, we did sail.\n")
    assert memory.search("harbour sail")[0].startswith("chat.md:2:")


def test_words_of_the_lines_beside_count(memory: Memory) -> None:
    memory.put("a.md", "- wedding of Ada\n- cake by Bo\n- music by Cy\n\n- cake by Di\n")
    assert memory.search("wedding cake")[-1] == "a.md:5: - cake by Di"
    memory.put("a.md", "- cake by Di\n\n- music by Cy\n- cake by Bo\n- wedding of Ada\n")
    assert memory.search("wedding cake")[-1] == "a.md:1: - cake by Di"


def test_a_label_counts_more_than_a_value(memory: Memory) -> None:
    memory.put("a.md", "- **Note**: no occupation\n- **Occupation**: baker, at night\n")
    assert memory.search("occupation")[0] == "a.md:2: - **Occupation**: baker, at night"


def test_words_beside_a_labelled_fact_do_not_count(memory: Memory) -> None:
    """Each line of "- **Label**: value" is a fact of its own, whatever stands beside it."""
    memory.put("a.md", "- **Wedding**: May\n\n- **Cake**: by Bo!\n- **Wedding**: in Rome\n\n- **Cake**: by Di\n")
    cakes = [hit for hit in memory.search("wedding cake") if "Cake" in hit]
    assert cakes == ["a.md:6: - **Cake**: by Di", "a.md:3: - **Cake**: by Bo!"]  # the shorter line first
