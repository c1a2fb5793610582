"""tools/bench_minivqa.py runs and prints what it promises; how fast is no test's business."""

from digrap.data.mini.scene_styles import STYLES
from tests.doors import call


def test_it_prints_a_rate_of_each_style_and_decoding():
    run = call("tools/bench_minivqa.py", "scenes=60", "questions=20")
    assert run.returncode == 0, run.stderr
    lines = [line.split(": ") for line in run.stdout.splitlines()]
    assert [name for name, _ in lines] == [*STYLES, "greedy", "card"]
    rates = [text.split() for _, text in lines]
    assert [unit for _, unit in rates] == ["scenes/s"] * len(STYLES) + ["questions/s"] * 2
    assert all(0 < float(number.replace(",", "")) < 100_000 for number, _ in rates)  # 0 or more: nothing was waited for
    refused = call("tools/bench_minivqa.py", "scenes=0")
    assert refused.returncode == 2 and refused.stderr.startswith("error: scenes=0")
