"""Normalisation of texts before the VQA scorers compare them (GT-Vision-Lab/VQA vqaEval.py; MMF m4c_evaluators.py)."""

from __future__ import annotations

import re

from digrap.metrics.vqa.contractions import CONTRACTIONS

PUNCTUATION = frozenset(';/[]"{}()=+\\_-><@`,?!')
ARTICLES = frozenset(("a", "an", "the"))
NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
# MMF's pattern for the second is "digit, commas, digit": it fires on "1,,0" too, where the official one does not.
ANY_MARK = re.compile(r"[;/\[\]\"{}()=+\\_\-><@`,?!.]")
DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
DIGIT_COMMAS_DIGIT = re.compile(r"\d,+\d")
PERIOD = re.compile(r"\.(?!\d)")
PERIODS = 32  # re.UNICODE, handed to re.sub where it takes the number of substitutions


def clean(text: str) -> str:
    """Turn line feeds and tabs into spaces and strip the spaces at both ends."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def punctuation(text: str, digits: re.Pattern[str] = DIGIT_COMMA_DIGIT) -> str:
    """Delete or blank punctuation, then delete the first 32 periods that no digit follows.

    A mark is deleted everywhere if it stands beside a space anywhere, or if the text has a comma between digits
    (`digits`); otherwise each becomes a space.
    """
    if not ANY_MARK.search(text):
        return text
    if found := PUNCTUATION.intersection(text):
        every = digits.search(text) is not None
        gone = {ord(p): "" if every or p + " " in text or " " + p in text else " " for p in found}
        text = text.translate(gone)
    return PERIOD.sub("", text, count=PERIODS)


def digits_and_articles(text: str) -> str:
    """Return lower case: number words up to ten as digits, no articles, apostrophes put back, single spaces."""
    words = [NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join([CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES])


def normalise(text: str) -> str:
    """Normalise in full, as the official scorers do."""
    return digits_and_articles(punctuation(clean(text)))


def normalise_m4c(text: str) -> str:
    """Normalise as MMF's TextVQA evaluator does: commas and question marks go first, "'s" becomes a word of its own."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return digits_and_articles(punctuation(clean(text), DIGIT_COMMAS_DIGIT))
