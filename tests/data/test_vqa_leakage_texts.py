"""Which texts of questions count as one when leakage is looked for."""

import unicodedata

import pytest

from digrap.data.vqa.leakage import leakage, words
from digrap.metrics.vqa.question import Question


def asked(text, picture="coco:1", **more):
    return Question("1", "1", ("a",) * 10, question=text, picture=picture, **more)


def leaks(train, test):
    return leakage([asked(train)], {"test": [asked(test)]})["test"]["by_text"]


@pytest.mark.parametrize("text", ["Un café à côté ?", "Ünïcode", "한국어 질문", "が ぎ"])
def test_accents_composed_or_apart_are_one_text(text):
    one, other = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert one != other and leaks(one, other) == leaks(other, one) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What color?", "what  COLOR", 1),
        ("what_color", "what color!", 1),
        ("???", "!!!", 0),
        ("?", "…", 0),
        ("🐶?", "🐱?", 0),
        ("? ?", "??", 1),
        ("", "", 0),
        (" ", "", 0),
        ("?", "what?", 0),
        ("कि", "का", 0),
        ("किताब क्या है?", "किताब क्या है", 1),
        ("cafe", "café", 0),
    ],
)
def test_texts_without_words_are_told_apart(one, other, same):
    assert leaks(one, other) == leaks(other, one) == same


def test_words():
    assert words("  What's   that_thing (left)?") == "what s that thing left"
    assert words("²x — “Größe” №5") == "²x größe 5"


def test_a_picture_and_an_original_are_one_however_they_are_written():
    train = [asked("a", picture=unicodedata.normalize("NFC", "own:é.jpg"), origin="0012")]
    test = [asked("b", picture=unicodedata.normalize("NFD", "own:é.jpg"), origin="12"), asked("b", picture="own:e.jpg")]
    found = leakage(train, {"test": test})["test"]
    assert (found["by_id"], found["pictures"], found["pictures_leaked"], found["questions_leaked"]) == (1, 2, 1, 1)
