"""The oVQA scorer: a file of answers scored as text and by ClipMatch, and messages about bad calls."""

import json
import re
import sys

import numpy as np
import open_clip
import pytest

from digrap.cli import score_ovqa as script
from digrap.cli.door import door
from digrap.core.files import sha256
from tests.data.make_domainnet import make
from tests.models.tiny_clip import make_tower, slowly

NAMES = ("cello", "cell phone", "teddy bear", "trumpet", "t shirt")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    return make_tower(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("domainnet"))


@pytest.fixture
def call(made, tmp_path, monkeypatch, capsys):
    """Answers ({id: text}, or rows of the file) and arguments → the printed object, or the error's text."""

    def run(answers, *arguments, device="device=cpu"):
        rows = answers
        if isinstance(answers, dict):
            rows = [{"question_id": name, "answer": text} for name, text in answers.items()]
        path = tmp_path / "answers.json"
        path.write_text(json.dumps(rows))
        own = [f"predictions={path}", "split=sketch", f"dataset.lists={made.lists}", device]
        monkeypatch.setattr(sys, "argv", ["score_ovqa.py", *own, *arguments])
        code = door(script.main)
        printed = capsys.readouterr()
        if code:
            assert not printed.out and len(printed.err.splitlines()) == 1
            return printed.err
        return json.loads(printed.out)

    return run


LABELS = [label for label in range(5) for _ in range(4)]
SPOKEN = ("cello", "cell phone", "teddy bear", "trumpet", "t-shirt")


def test_scores_by_hand(call):
    """20 questions, four of each class: exact names, other punctuation, other classes, empty answers, none at all."""
    answers = dict(enumerate(["cello", "Cello!", "a cello", "cellos"] + ["cell  phone", "cell-phone", "phone", ""]))
    answers |= {8: "Teddy-Bear.", 9: "teddy bear and trumpet", 10: "trumpet", 11: "???"}
    answers |= {12: "trumpet", 13: "trumpet", 14: "trumpet", 16: "T-shirt", 17: "t shirt", 18: "tshirt", 19: "shirt"}
    found = call(answers, "clip=false")
    right = {0, 1, 4, 5, 8, 12, 13, 14, 16, 17}
    assert (found["split"], found["n"], found["valid"], found["empty"]) == ("sketch", 20, 11, 2)
    assert found["acc"] == found["EM"] == 100 * len(right) / 20
    assert found["valid_acc"] == pytest.approx(100 * 10 / 11) and found["Cont"] == 100 * (len(right) + 2) / 20
    low, high = found["interval_95"]["acc"]
    assert low < found["acc"] < high and set(found["interval_95"]) == {"acc", "valid_acc", "EM", "Cont"}
    assert "clip" not in found and "ClipM1" not in found
    (problem,) = found["problems"].values()  # number 15
    assert problem == {"count": 1, "first": ["question 15"]}


def test_places_in_lmms_evals_log_are_the_ids(call):
    rows = [{"doc_id": n, "filtered_resps": [SPOKEN[label]]} for n, label in enumerate(LABELS)]
    assert call(rows[::-1], "clip=false")["acc"] == 100.0


def test_clip_match_of_answers(call, tiny):
    """Against one text at a time: classes by their mean over the templates, everything in SIMPLE normalisation."""
    texts = ["Cello", "a cello", "cell-phone", "", "TEDDY bear", "t-shirt!", "horn", "mobile"]
    answers = {n: texts[n % len(texts)] for n in range(20) if n != 7}
    found = call(answers, "clip_model=tiny", f"clip_weights={tiny}", "batch_size=16")
    embed = slowly(tiny)
    templates = open_clip.OPENAI_IMAGENET_TEMPLATES
    classes = [np.mean([embed(template(name)) for template in templates], axis=0) for name in NAMES]
    hits = {1: 0, 5: 0}
    for n, text in answers.items():
        normal = {"Cello": "cello", "cell-phone": "cell phone", "TEDDY bear": "teddy bear", "t-shirt!": "t shirt"}
        answer = embed(normal.get(text, text))
        cosines = [answer @ one / np.linalg.norm(one) for one in classes]
        order = sorted(range(5), key=lambda k: -cosines[k])
        for k in hits:
            hits[k] += LABELS[n] in order[:k]
    assert 0 < hits[1] < 19 and hits[5] == 19  # number 7 has no answer, and is among no five
    assert (found["ClipM1"], found["ClipM5"]) == (100 * hits[1] / 20, 95.0)
    assert found["clip"] == {"model": "tiny", "weights": "tiny.safetensors", "sha256": sha256(tiny)}
    assert {"ClipM1", "ClipM5"} < set(found["interval_95"])


def test_both_sides_are_normalised_first():
    """A question without answer is wrong, whichever class "" is nearest to."""
    seen = []

    class Tower:
        provenance = {}

        def embed(self, texts, description):
            seen.append(texts)
            return np.ones((len(texts), 3), np.float32)  # all cosines are equal: the first class is nearest

    found = script.clip_scores(["Teddy-Bear!", None, "?"], [0, 0, 0], ("t-shirt", "The Eiffel Tower"), Tower())
    assert seen[1] == ["teddy bear", "", ""] and len(seen[0]) == 160
    assert (seen[0][0], seen[0][80]) == ("a bad photo of a t shirt.", "a bad photo of a the eiffel tower.")
    assert {name: hits.tolist() for name, hits in found.items()} == dict.fromkeys(
        ("ClipM1", "ClipM5"), [True, False, True]
    )


def test_problems_are_counted_and_strict_stops(call):
    rows = [{"question_id": n, "answer": SPOKEN[label]} for n, label in enumerate(LABELS)]
    assert call(rows, "clip=false")["acc"] == 100 and call(rows, "clip=false", "strict=true")["problems"] == {}
    odd = [*rows[1:], {"question_id": 3, "answer": "tuba"}, {"question_id": 20, "answer": "tuba"}]
    found = call(odd, "clip=false")
    assert found["acc"] == 90  # 0 is missing, and of 3 the last counts
    counted = {kind.split(" ")[0]: value for kind, value in found["problems"].items()}
    assert {kind: value["count"] for kind, value in counted.items()} == {"question": 1, "duplicate": 1, "prediction": 1}
    assert "question 20" in str(counted["prediction"]) and "question 0" in str(counted["question"])
    assert "question 20" in call(odd, "clip=false", "strict=true")


def test_out_and_the_authors_files(call, made, tmp_path):
    """The same numbers from a folder with their JSON; no image is looked for."""
    folder = tmp_path / "json"
    folder.mkdir()
    (folder / "classes_data.json").write_text(json.dumps([{"clip_bench_label": name} for name in SPOKEN]))
    entries = {str(n): {"class_idx": label, "image": f"sketch/x{label}/{n}.jpg"} for n, label in enumerate(LABELS)}
    (folder / "sketch_test.json").write_text(json.dumps(entries))
    answers = {n: SPOKEN[label] for n, label in enumerate(LABELS[:15])}
    out = tmp_path / "deep" / "scores.json"
    found = call(answers, "clip=false", f"dataset.annotations={folder}", "dataset.lists=null", f"out={out}")
    assert found["acc"] == 75 and json.loads(out.read_text()) == found
    assert found == call(answers, "clip=false")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["split=sktech"], "split=sktech: there is no such split; nearest: sketch"),
        (["clip=no"], None),
        (["clip=maybe"], "clip=maybe: give true or false"),
        (["predictions=null"], "predictions=FILE is missing"),
        (["predictions=/no/file.json", "clip=false"], "/no/file.json does not exist"),
        (["clip_weight=x"], "unknown argument 'clip_weight=x'.*nearest: clip_weights"),
        (["clip_weights=/no/file"], "clip_weights=/no/file: neither a file"),
        (["dataset.version=new"], "dataset.version=new: choose one of"),
        (["dataset.versoin=new"], "dataset.versoin: there is no such option"),
        (["out=/dev/null/x", "clip=false"], "/dev/null: cannot be read or written"),
    ],
)
def test_bad_calls_are_one_message(call, arguments, words):
    found = call({0: "cello"}, *arguments)
    if words is None:  # YAML's no
        assert "clip" not in found
    else:
        assert re.search(words, found)
