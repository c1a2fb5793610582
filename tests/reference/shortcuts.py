"""Multi-modal shortcuts of questions (Dancette et al. 2021), by counting one combination at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations


def _sets(items):
    """The single items and the pairs of a set."""
    items = sorted(items)
    return [(item,) for item in items] + list(combinations(items, 2))


def _antecedents(text, objects):
    return [(words, seen) for words in _sets(set(text.split())) for seen in _sets(set(objects))]


def mine(questions, support, confidence):
    """{(words, objects): {answer}} of the rules in `questions`, (text, objects in the picture, answer) each."""
    counts = defaultdict(Counter)
    for text, objects, answer in questions:
        for antecedent in _antecedents(text, objects):
            counts[antecedent][answer] += 1
    rules = {}
    for antecedent, found in counts.items():
        total = sum(found.values())
        kept = {a for a, n in found.items() if n >= support * len(questions) and n >= confidence * total}
        if kept:
            rules[antecedent] = kept
    return rules


def judge(rules, text, objects, answers):
    """counterexamples, hard or easy."""
    said = set().union(*(rules.get(antecedent, set()) for antecedent in _antecedents(text, objects)))
    if not said:
        return "hard"
    return "easy" if said & set(answers) else "counterexamples"
