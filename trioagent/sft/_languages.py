"""Languages for the checks: which one a sentence is in, and its function words. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

ENGLISH, UNKNOWN = "en", ""

_FUNCTION_WORDS: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": (
            "the a an i my me is am are was were have has had and of in on at to with for not it she he her his we our "
            "you your do does did that this from as by who where when named called"
        ),
        "de": (
            "der die das ich mein meine meinen meiner bin ist sind war habe hat haben und von im in auf zu mit fur "
            "nicht kein keine sie er wir unser ein eine einen als aus bei dem den es am wohne lebe arbeite heisse"
        ),
        "fr": (
            "le la les je j mon ma mes suis est sont ai ont et de du des dans sur avec pour pas il elle nous un une au "
            "en ne que qui d l habite travaille appelle"
        ),
        "es": (
            "el la los las yo mi mis soy es son tengo tiene y de del en con por para no un una que al vivo estoy me "
            "se ella nosotros trabajo llamo"
        ),
        "it": (
            "il lo la gli le io mio mia miei sono ho ha e di del in con per non un una che al vivo lavoro mi chiamo lei"
        ),
        "pt": "o a os as eu meu minha sou tenho tem e de do da em no na com por para nao um uma que moro vivo ele ela",
        "nl": "de het een ik mijn ben is zijn heb heeft en van in op met voor niet geen hij zij wij woon werk dat",
        "pl": "i w na z do jest mam moj moja moje sie nie jestem mieszkam pracuje lubie ma od po",
        "cs": "a v na s do je mam muj moje se ne jsem bydlim pracuji mam ma od po",
        "sv": "jag och i pa en ett ar har min mitt mina med inte bor arbetar som av till",
        "tr": "ve bir ben benim icin ile var yok da de bu cok",
        "ko": "나는 저는 제가 내가 나의 저의 제 내 살아요 삽니다 있어요 있습니다 입니다 이에요 예요 그리고 에서",
        "ru": (
            "я мой моя мое мои меня мне у и в на с не нет он она мы наш это как из по за к живу работаю зовут был была"
        ),
        "hi": (
            "मैं मुझे मेरा मेरी मेरे हम हमारा है हैं हूं हूँ था थी थे में से को का की के पर और एक नहीं यह वह रहता रहती रहते करता करती पास साथ"
        ),
    }.items()
}
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")
_HANGUL = re.compile(r"[\uac00-\ud7af]")
_DEVANAGARI = re.compile(r"[\u0900-\u097f]")


def language_of(words: Sequence[str]) -> str:
    """The language of a sentence by its function words (given without case and accents); "" if no set fits.

    Without any of them a single word counts as English: a name is the same everywhere.
    """
    if any(_CYRILLIC.search(word) for word in words):
        return "ru"
    if any(_HANGUL.search(word) for word in words):
        return "ko"
    if any(_DEVANAGARI.search(word) for word in words):
        return "hi"
    words = [part for word in words for part in re.split("['’]", word)]
    hits = {language: sum(word in known for word in words) for language, known in _FUNCTION_WORDS.items()}
    best = max(hits, key=lambda language: (hits[language], language == ENGLISH))
    if hits[best] == 0:
        return ENGLISH if len(words) == 1 else UNKNOWN
    return best


def function_words(language: str) -> frozenset[str]:
    """The function words of a language; none of an unknown one."""
    return _FUNCTION_WORDS.get(language, frozenset())
