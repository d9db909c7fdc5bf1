"""A fact is found in other words, and not where only its everyday words are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent.sft._words import states, words_in, words_of


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


@pytest.mark.parametrize(
    ("fact", "text"),
    [
        ("I earn 1,200 euros.", "- Earns 1200 euros"),
        ("I paid 2,500,000 dollars.", "- Paid 2500000 dollars"),
        ("I own twenty-five sheep.", "- Owns 25 sheep"),
        ("I own 25 sheep.", "- Owns twenty-five sheep"),
        ("I own two hundred and five books.", "- Books: 205"),
        ("I run 3.5 km a day.", "- Runs 3.5 km daily"),
        ("I weigh 72.5 kg.", "- Weight: 72,5 kg"),
        ("My phone has 128 GB.", "- Phone: 128GB"),
        ("I have \u0663 cats.", "- Cats: 3"),
        ("I was born on 5 March 1990.", "- Born: 05.03.1990"),
        ("I have one brother.", "- Brother: Tom"),
        ("I live on the twenty-fifth floor.", "- Lives on the 25th floor"),
        ("I live on the third floor.", "- Lives on the 3rd floor"),
        ("It is my thirtieth year here.", "- 30th year here"),
        ("My street is the one hundred and fifth.", "- Street: 105th"),
        ("J'ai vingt-cinq moutons.", "- 25 moutons"),
        ("J'ai vingt et un moutons.", "- 21 moutons"),
        ("J'ai soixante-quinze moutons.", "- 75 moutons"),
        ("J'ai quatre-vingts moutons.", "- 80 moutons"),
        ("J'ai quatre-vingt-douze moutons.", "- 92 moutons"),
        ("Tengo treinta y cinco ovejas.", "- 35 ovejas"),
        ("Tenho vinte e duas ovelhas e moro em Braga.", "- Braga, 22 ovelhas"),
        ("У меня двадцать пять овец.", "- 25 овец"),
    ],
)
def test_numbers_are_equal_however_they_are_written(fact: str, text: str) -> None:
    assert states(fact, [text])


def test_a_number_with_a_fraction_is_one_number() -> None:
    assert not states("I run 3.5 km a day.", ["- Runs 5 km a day, on 3 days"])
    assert not states("I have 25 sheep.", ["- Has twenty sheep and five dogs"])


@pytest.mark.parametrize(
    ("fact", "text"),
    [
        ("I live on the twenty-fifth floor.", "- Lives on the 5th floor"),
        ("J'ai trente-cinq moutons.", "- 25 moutons"),
        ("J'ai quatre-vingt-douze moutons.", "- 82 moutons"),
        ("Tengo treinta y cinco ovejas.", "- 45 ovejas"),
    ],
)
def test_a_part_of_a_number_is_another_number(fact: str, text: str) -> None:
    assert not states(fact, [text])


LANGUAGES = [
    ("Ich wohne in München und arbeite als Bäckerin.", "- Wohnort: München\n- Beruf: Bäckerin", "- Beruf: Bäckerin"),
    ("Ich habe drei Katzen.", "- Katzen: 3", "- Katzen: 2"),
    ("J'habite à Lyon avec deux chats.", "- Ville: Lyon\n- 2 chats", "- Ville: Paris\n- 2 chats"),
    ("Mi hermana vive en Sevilla.", "- Hermana: Sevilla", "- Hermana: Cádiz"),
    ("Mieszkam w Krakowie i mam dwa psy.", "- Miasto: Kraków\n- dwa psy", "- Miasto: Gdańsk\n- dwa psy"),
    ("Я живу в Берлине.", "- Город: Берлин", "- Город: Казань"),
    ("Я работаю врачом в Москве.", "- Профессия: врач\n- Город: Москва", "- Профессия: врач\n- Город: Казань"),
    ("我住在柏林。", "- 居住地: 柏林", "- 居住地: 罗马"),
    ("我的姐姐阿达住在柏林。", "- 姐姐: 阿达 (柏林)", "- 姐姐: 阿达 (罗马)"),
    ("我有三只猫。", "- 猫: 3只", "- 猫: 2只"),
    ("私はベルリンに住んでいます。", "- 居住地: ベルリン", "- 居住地: ローマ"),
    ("나는 베를린에 살아요.", "- 도시: 베를린", "- 도시: 로마"),
    ("ฉันอาศัยอยู่ในเบอร์ลิน", "- เมือง: เบอร์ลิน", "- เมือง: โรม"),
    ("אני גר בברלין", "- עיר: ברלין", "- עיר: רומא"),
    ("أعيش في برلين", "- المدينة: برلين", "- المدينة: روما"),
]


@pytest.mark.parametrize(("fact", "text", "other"), LANGUAGES, ids=[fact for fact, _, _ in LANGUAGES])
def test_facts_in_any_language(fact: str, text: str, other: str) -> None:
    assert states(fact, [text])
    assert not states(fact, [other])
    assert states(fact, [fact])


@pytest.mark.parametrize(
    ("fact", "text", "stated"),
    [
        ("I am not allergic to peanuts.", "- Allergic to peanuts", False),
        ("I am not allergic to peanuts.", "- Not allergic to peanuts", True),
        ("I am not allergic to peanuts.", "- No allergy to peanuts", True),
        ("I am allergic to peanuts.", "- Not allergic to peanuts", False),
        ("I am allergic to peanuts.", "- Allergic to peanuts, not to walnuts", True),
        ("I don't eat meat.", "- Does not eat meat", True),
        ("I do not like olives.", "- Dislikes olives", True),
        ("I don't eat meat.", "- Eats meat", False),
        ("I like tea, not coffee.", "- Likes tea\n- No coffee", True),
        ("I like tea, not coffee.", "- Likes tea and coffee", False),
        ("Ich esse kein Fleisch.", "- Isst kein Fleisch", True),
        ("Ich esse kein Fleisch.", "- Isst Fleisch", False),
    ],
)
def test_what_is_denied(fact: str, text: str, stated: bool) -> None:
    assert states(fact, [text]) is stated
