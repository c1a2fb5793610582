"""Seconds that the VQA scorers take, and how much faster they are than a plain loop over questions.

    python -m tools.bench_scorers [n=200000 slice=2000 distinct=false seed=0]

Makes n questions with ten answers each, as repetitive as VQAv2's (a few thousand answers, most of one question alike),
or with distinct=true all different strings. Run from the repository's root: the reference is in tests/. Prints a
Markdown table: seconds for all n questions, questions a second, and the ratio to the slow reference version of
tests/reference, which scores the first `slice` of them.
"""

import sys
import time

import numpy as np

from digrap.cli.arguments import bare_keys
from digrap.cli.door import door
from digrap.core.errors import DigrapError
from digrap.metrics.vqa.accuracy import SCORERS, accuracies
from tests.reference import vqa as reference

DEFAULTS = {"n": 200_000, "slice": 2_000, "distinct": False, "seed": 0}
POOL = 30_000  # distinct answers; VQAv2's validation questions have about as many
WORDS = "the a dog red two left on top of wooden table 1,000 none isnt t-shirt maybe? yes no white, man's 3.5"


def questions(n: int, distinct: bool, seed: int) -> tuple[list[str], list[list[str]]]:
    """Predictions (n,) and ten answers each, drawn from `seed`."""
    rng = np.random.default_rng(seed)
    words = WORDS.split()
    picked = rng.integers(len(words), size=(11 * n if distinct else POOL, 3))
    pool = [f"{words[a]} {words[b]} {words[c]} {k}" for k, (a, b, c) in enumerate(picked)]
    if distinct:
        return pool[:n], [pool[n + 10 * k : n + 10 * k + 10] for k in range(n)]
    places = np.minimum(rng.zipf(1.3, size=(n, 4)) - 1, POOL - 1)  # a question's possible answers: few are common
    answers = np.take_along_axis(places, np.minimum(rng.geometric(0.6, size=(n, 10)) - 1, 3), axis=1)
    predictions = np.where(rng.random(n) < 0.7, places[:, 0], places[:, 1])
    return [pool[k] for k in predictions.tolist()], [[pool[k] for k in row] for row in answers.tolist()]


def reference_seconds(scorer: str, predictions: list[str], answers: list[list[str]]) -> tuple[float, list[float]]:
    """Seconds and accuracies of the loop."""
    dicts = [[{"answer": text, "answer_id": k} for k, text in enumerate(row)] for row in answers]
    start = time.perf_counter()
    found = [reference.SCORERS[scorer](text, row) for text, row in zip(predictions, dicts, strict=True)]
    return time.perf_counter() - start, found


def main() -> None:
    """Measure and print."""
    options = bare_keys(sys.argv[1:], DEFAULTS)
    if not 0 < options.slice <= options.n:
        raise DigrapError(f"n={options.n} slice={options.slice}: give 0 < slice <= n")
    predictions, answers = questions(options.n, options.distinct, options.seed)
    print("| scorer | seconds | questions a second | × the plain loop |\n| --- | ---: | ---: | ---: |")
    for scorer in SCORERS:
        start = time.perf_counter()
        found = accuracies(predictions, answers, scorer)
        seconds = time.perf_counter() - start
        slow, expected = reference_seconds(scorer, predictions[: options.slice], answers[: options.slice])
        if found[: options.slice].tolist() != expected:
            raise DigrapError(f"{scorer} and its reference differ: a defect; `pytest tests/metrics` shows where")
        ratio = (slow / options.slice) / (seconds / options.n)
        print(f"| {scorer} | {seconds:.2f} | {options.n / seconds:,.0f} | {ratio:.0f} |", flush=True)


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
