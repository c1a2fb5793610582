"""The judge's statistics: known gains from synthetic answers (tests/cli/test_judge_script.py has the script)."""

import numpy as np
import pytest

from digrap.core.errors import DigrapError
from digrap.report.matched_id import Answers, Gain, chosen, front, judge, verdict


def run(identity, ood, n=1000, validation=0.0, shift=0):
    """A run with exactly these accuracies in percent; `shift` moves which examples are right."""

    def right(percent):
        return np.roll(np.arange(n) < round(n * percent / 100), shift)

    return Answers(right(identity), {"a": right(ood + 5), "b": right(ood - 5)}, validation)


REFERENCE = {
    "zero-shot": [run(70, 80), run(71, 80)],
    "slow": [run(76, 74), run(77, 74)],
    "fast": [run(80, 66), run(81, 66)],
}


def test_gain_is_the_distance_to_the_line():
    contenders = {
        "on it": [run(78, 70), run(79, 70)],
        "above": [run(73, 80), run(74, 79)],  # the line has 77
        "below": [run(78, 67), run(79, 67)],
        "right of it": [run(82, 68), run(81, 68)],  # the nearest end has 66; the second seed lies on it
        "left of it": [run(60, 80), run(60, 80)],
        "a point of it": REFERENCE["slow"],
    }
    gains = judge(REFERENCE, contenders, draws=300)
    expected = {"on it": 0, "above": 2.5, "below": -3, "right of it": 2, "left of it": 0, "a point of it": 0}
    assert {row: pytest.approx(gain.gain, abs=1e-9) for row, gain in gains.items()} == expected
    assert [gain.beyond for gain in gains.values()] == [0, 0, 0, 1, 2, 0]
    assert (gains["above"].identity, gains["above"].ood) == (73.5, 79.5)
    assert all(gain.low <= gain.gain <= gain.high for gain in gains.values())
    assert gains["above"].low < gains["above"].high and gains["above"].seeds == 2


def test_a_point_that_another_beats_is_not_on_the_front():
    identity, ood = front(np.array([80.0, 70.0, 75.0, 80.0]), np.array([60.0, 80.0, 59.0, 61.0]))
    assert (identity.tolist(), ood.tolist()) == ([70, 80], [80, 61])


def test_the_interval_holds_the_truth():
    """Two seeds, answers drawn anew each time around a gain of 3: it is covered nine times in ten, or more often."""
    generator, covered, widths = np.random.default_rng(0), 0, []

    def drawn(identity, ood):
        rates = (identity, ood, ood)
        first, *others = (generator.random(400) < rate for rate in rates)
        return Answers(first, dict(zip("ab", others, strict=True)), 0.0)

    for _ in range(60):
        reference = {row: [drawn(*at) for _ in range(2)] for row, at in {"z": (0.7, 0.8), "v": (0.8, 0.6)}.items()}
        gain = judge(reference, {"mine": [drawn(0.75, 0.73) for _ in range(2)]}, draws=200)["mine"]
        covered += gain.low <= 3 <= gain.high
        widths.append(gain.high - gain.low)
    assert covered >= 54 and np.mean(widths) < 20


def test_pairs_cancel_and_seeds_widen():
    """The same wrong answers as a reference point: no spread at all; seeds that differ widen the interval."""
    same = judge(REFERENCE, {"fast": REFERENCE["fast"]}, draws=200)["fast"]
    assert same.high - same.low < 1e-6
    apart = judge(REFERENCE, {"x": [run(76, 76), run(77, 80)]}, draws=400)["x"]
    alike = judge(REFERENCE, {"x": [run(76, 78), run(77, 78)]}, draws=400)["x"]
    assert apart.gain == pytest.approx(alike.gain) and apart.high - apart.low > 1.3 * (alike.high - alike.low)


def test_it_repeats_and_takes_one_seed():
    one = {row: runs[:1] for row, runs in REFERENCE.items()}
    first, again = (judge(one, {"x": [run(73, 79, shift=3)]}, draws=100) for _ in range(2))
    assert first == again and first["x"].low < first["x"].high


def test_other_examples_are_refused():
    with pytest.raises(DigrapError, match="different examples: .*x"):
        judge(REFERENCE, {"x": [run(73, 79, n=900)] * 2})


def test_the_choice_sees_validation_only():
    rows = {"a": [run(80, 80, validation=70)], "b": [run(10, 10, validation=71)], "c": [run(1, 99, validation=71)]}
    assert chosen(rows) == "b"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((1.24, 0.6, 1.8), "verdict: X keeps +1.2 points OOD at matched ID accuracy (95 % +0.6 … +1.8), step 1.9 × "),
        ((-1.0, -2.0, -0.1), "verdict: X is worse: −1.0 points OOD at matched ID accuracy (95 % −2.0 … −0.1), step 1."),
        ((0.2, -0.4, 0.7), "verdict: X makes no difference at matched ID accuracy that 2 seeds can show (+0.2 points"),
    ],
)  # fmt: skip
def test_the_verdict_is_one_line(numbers, text):
    line = verdict("X", Gain(80.0, 70.0, *numbers, beyond=0, seeds=2), 1.9)
    assert line.startswith(text) and "\n" not in line
