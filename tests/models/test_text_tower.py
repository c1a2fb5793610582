"""ClipMatch's embeddings, against one text at a time; scoring a file of predictions; what is said of bad input."""

import json
import re
import sys

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from open_clip import pretrained
from torch import nn

from digrap.cli import score_ovqa as script
from digrap.cli.door import door
from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.models import text_tower as clip_match
from digrap.models.text_tower import class_embeddings, load_text_tower
from tests.data.make_domainnet import make
from tests.models.tiny_clip import make_known

NAMES = ("cello", "cell phone", "teddy bear", "trumpet", "t shirt")
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    "custom_text": True,  # as EVA01-g-14 is
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A model of open_clip's for the test, and random weights of it in a file, which is its tag `random` too."""
    make_known(TINY, tmp_path / "configs", monkeypatch)
    torch.manual_seed(1)
    model = open_clip.create_model("tiny")
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(value, std=0.1)
    nn.init.normal_(model.text.token_embedding.weight, std=1.0)  # words matter beside places
    path = tmp_path / "tiny.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    for name in ("tiny", "tiny-quickgelu"):
        monkeypatch.setitem(pretrained._PRETRAINED, name, {"random": {"file": str(path), "quick_gelu": False}})
    return path


def slowly(path):
    """A function: one text's embedding at length 1, in float64 after the tower."""
    model = open_clip.create_model("tiny", pretrained=str(path)).eval()
    tokenizer = open_clip.get_tokenizer("tiny")

    @torch.no_grad()
    def embed(text):
        found = model.encode_text(tokenizer([text]))[0].double().numpy()
        return found / np.sqrt((found**2).sum())

    return embed


def tower_of(path, **options):
    return load_text_tower(**{"model": "tiny", "weights": path, "device": "cpu"} | options)


def test_texts_are_embedded_alone_at_length_1(tiny):
    texts = ["t shirt", "teddy bear", "a kind of trumpet", "t shirt", ""]
    found = tower_of(tiny).embed(texts)
    assert found.shape == (5, 16) and found.dtype == np.float32
    np.testing.assert_allclose(found, list(map(slowly(tiny), texts)), atol=1e-6)
    assert (found[0] == found[3]).all() and abs(found[0] - found[1]).max() > 1e-2


def test_a_class_is_the_mean_over_the_templates(tiny):
    """80 prompts; the mean is not made longer."""
    names = ("t shirt", "teddy bear")
    prompts = [[template(name) for template in open_clip.OPENAI_IMAGENET_TEMPLATES] for name in names]
    assert prompts[0][0] == "a bad photo of a t shirt." and len(prompts[0]) == 80
    embed, expected = slowly(tiny), []
    for texts in prompts:
        total = np.zeros(16)
        for text in texts:
            total += embed(text)
        expected.append(total / len(texts))
    for batch_size in (7, 256):
        found = class_embeddings(tower_of(tiny, batch_size=batch_size), names)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (np.linalg.norm(found, axis=1) < 0.999).all()


def test_an_empty_text_has_an_embedding(tiny):
    """Start and end alone: it is as near to some class as any other text, and nothing is not a number."""
    tokens = open_clip.get_tokenizer("tiny")([""])[0]
    assert tokens[:2].tolist() == [49406, 49407] and not tokens[2:].any()
    found = tower_of(tiny).embed([""])
    assert np.isfinite(found).all() and abs(np.linalg.norm(found) - 1) < 1e-6


def test_distinct_texts_are_embedded_once(tiny, monkeypatch):
    tower, seen = tower_of(tiny, batch_size=2), []
    whole = tower._batch
    monkeypatch.setattr(tower, "_batch", lambda texts: seen.append(texts) or whole(texts))
    found = tower.embed(["b", "a", "b", "c", "a", "b"])
    assert seen == [["b", "a"], ["c"]]
    np.testing.assert_allclose(found, list(map(slowly(tiny), "babcab")), atol=1e-6)


def test_a_text_longer_than_the_context_is_cut(tiny):
    long = "piano " * 200
    found = tower_of(tiny).embed([long, "piano " * 75])
    assert np.isfinite(found).all() and (found[0] == found[1]).all()


def test_tag_and_file_are_the_same_weights(tiny):
    by_tag, by_file = tower_of("random"), tower_of(str(tiny))
    assert (by_tag.embed(["cello"]) == by_file.embed(["cello"])).all()
    assert by_tag.provenance == {"model": "tiny", "weights": "random", "sha256": sha256(tiny)}
    assert not hasattr(by_tag.network, "visual") and not by_tag.network.training


def test_the_default_is_the_authors_model():
    known = open_clip.get_pretrained_cfg(clip_match.MODEL, clip_match.WEIGHTS)
    assert (clip_match.MODEL, clip_match.WEIGHTS) == ("EVA01-g-14", "laion400m_s11b_b41k") and known["hf_hub"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "EVA01-g-15"}, "clip_model=EVA01-g-15: open_clip has no such model; nearest: .*EVA01-g-14"),
        ({"weights": "/no/such.pt"}, "clip_weights=/no/such.pt: no such file, and no tag of tiny .of: random.; give"),
        (
            {"model": "tiny-quickgelu", "weights": "random"},
            "random was trained with another GELU; take clip_model=tiny$",
        ),
        ({"device": "cuda:99"}, "device=cuda:99: this machine has none .*; device=auto takes"),
        ({"device": "gpu"}, "device=gpu: this machine has none"),
        ({"batch_size": 0}, "batch_size=0: give a whole number"),
    ],
)
def test_what_is_wrong_is_named(tiny, options, words):
    with pytest.raises(DigrapError, match=words):
        tower_of(tiny, **options)


def test_a_file_that_is_no_weights_of_the_model_is_named(tiny, tmp_path):
    bad = tmp_path / "w.safetensors"
    for content in (b"no weights", None):
        if content is None:
            safetensors.torch.save_file({"visual.proj": torch.ones(2)}, bad)
        else:
            bad.write_bytes(content)
        with pytest.raises(DigrapError, match=r"w.safetensors: not readable, or not weights of tiny \("):
            tower_of(bad)


def test_without_network_the_ways_out_are_named(monkeypatch):
    def offline(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(open_clip, "download_pretrained", offline)
    with pytest.raises(
        DigrapError, match="EVA01-g-14: .*laion400m_s11b_b41k are not in the cache .*no route.*clip=false"
    ):
        load_text_tower()


# --- scripts/score_ovqa.py -------------------------------------------------------------------------------------------


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
    """Of 20 questions, four a class: in words of its own, with other marks, another class, nothing, not at all."""
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
        said = embed(normal.get(text, text))
        cosines = [said @ one / np.linalg.norm(one) for one in classes]
        order = sorted(range(5), key=lambda k: -cosines[k])
        for k in hits:
            hits[k] += LABELS[n] in order[:k]
    assert 0 < hits[1] < 19 and hits[5] == 19  # number 7 has no answer, and is among no five
    assert (found["ClipM1"], found["ClipM5"]) == (100 * hits[1] / 20, 95.0)
    assert found["clip"] == {"model": "tiny", "weights": "tiny.safetensors", "sha256": sha256(tiny)}
    assert {"ClipM1", "ClipM5"} < set(found["interval_95"])


def test_both_sides_are_normalised_first():
    """And a question without answer is wrong, wherever "" would be nearest."""
    seen = []

    class Tower:
        def embed(self, texts, _):
            seen.append(texts)
            return np.ones((len(texts), 3), np.float32)  # all cosines are equal: the first class is nearest

    found = script.clip_scores(["Teddy-Bear!", None, "?"], [0, 0, 0], ("t-shirt", "The Eiffel Tower"), Tower())
    assert seen[0] == ["teddy bear", "", ""] and len(seen[1]) == 160
    assert (seen[1][0], seen[1][80]) == ("a bad photo of a t shirt.", "a bad photo of a the eiffel tower.")
    assert {name: hits.tolist() for name, hits in found.items()} == dict.fromkeys(
        ("ClipM1", "ClipM5"), [True, False, True]
    )


def test_problems_are_counted_and_strict_stops(call):
    rows = [{"question_id": n, "answer": SPOKEN[label]} for n, label in enumerate(LABELS)]
    assert call(rows, "clip=false")["acc"] == 100 and call(rows, "clip=false", "strict=true")["problems"] == {}
    odd = [*rows[1:], {"question_id": 3, "answer": "tuba"}, {"question_id": 20, "answer": "tuba"}]
    found = call(odd, "clip=false")
    assert found["acc"] == 90  # 0 is missing, and of 3 the last counts
    told = {kind.split(" ")[0]: value for kind, value in found["problems"].items()}
    assert {kind: value["count"] for kind, value in told.items()} == {"question": 1, "duplicate": 1, "prediction": 1}
    assert "question 20" in str(told["prediction"]) and "question 0" in str(told["question"])
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
        (["clip_weights=/no/file"], "clip_weights=/no/file: no such file"),
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


def test_class_embeddings_are_kept_and_made_anew_where_damaged(tiny, tmp_path, caplog):
    tower, kept = load_text_tower("tiny", tiny), tmp_path / "kept"
    plain = class_embeddings(tower, NAMES)
    assert np.array_equal(class_embeddings(tower, NAMES, kept), plain)
    (file,) = kept.iterdir()
    tower.network = None  # nothing is embedded again
    assert np.array_equal(class_embeddings(tower, NAMES, kept), plain)
    file.write_bytes(file.read_bytes()[:100])
    assert np.array_equal(class_embeddings(load_text_tower("tiny", tiny), NAMES, kept), plain)
    assert "damaged" in caplog.text
    class_embeddings(load_text_tower("tiny", tiny), NAMES[:2], kept)
    assert len(list(kept.iterdir())) == 2
