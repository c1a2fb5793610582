"""ClipMatch's embeddings, against one text at a time; messages about bad input."""

import shutil

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from open_clip import pretrained

from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.models import text_tower as clip_match
from digrap.models.text_tower import class_embeddings, find_text_tower, load_text_tower
from tests.models.tiny_clip import make_tower, slowly

NAMES = ("cello", "cell phone", "teddy bear", "trumpet", "t shirt")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    return make_tower(tmp_path, monkeypatch)


def tower_of(path, **options):
    return load_text_tower(**{"model": "tiny", "weights": path, "device": "cpu"} | options)


def test_texts_are_embedded_alone_at_length_1(tiny):
    texts = ["t shirt", "teddy bear", "a kind of trumpet", "t shirt", ""]
    found = tower_of(tiny).embed(texts)
    assert found.shape == (5, 16) and found.dtype == np.float32
    np.testing.assert_allclose(found, list(map(slowly(tiny), texts)), atol=1e-6)
    assert (found[0] == found[3]).all() and abs(found[0] - found[1]).max() > 1e-2


def test_a_class_is_the_mean_over_the_templates(tiny):
    """80 prompts; the mean is not normalised."""
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


def test_tag_and_file_are_the_same_weights(tiny, caplog):
    caplog.set_level("INFO")
    by_tag, by_file = tower_of("random"), tower_of(str(tiny))
    assert f"{tiny}: assumed to be weights of tiny trained with GELU" in caplog.messages
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
        (
            {"weights": "/no/such.pt"},
            "clip_weights=/no/such.pt: neither a file nor a tag of tiny .it has: random.; give",
        ),
        (
            {"model": "tiny-quickgelu", "weights": "random"},
            "random was trained with GELU; use clip_model=tiny$",
        ),
        ({"device": "cuda:99"}, "device=cuda:99: not available on this machine .*; device=auto uses"),
        ({"device": "gpu"}, "device=gpu: not available on this machine"),
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


REPOSITORY = "timm/eva_giant_patch14_clip_224.laion400m_s11b_b41k"


def test_without_network_the_ways_out_are_named_after_one_request(cache, hub, caplog):
    hub()
    with pytest.raises(DigrapError) as caught:
        load_text_tower()
    text = str(caught.value)
    assert f"EVA01-g-14: the weights laion400m_s11b_b41k (2.3 GB, MIT licence) are not in the cache ({cache})" in text
    assert f"restore the network, or `hf download {REPOSITORY}` where there is one, or give clip_weights=FILE" in text
    assert "Retrying" not in caplog.text


def test_the_hubs_own_answer_is_told(cache, hub):
    hub(404, "EntryNotFound")
    with pytest.raises(DigrapError, match="could not be fetched .*404"):
        load_text_tower()


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_the_cache_needs_no_network(tiny, cache, hub, monkeypatch, name):
    hub()
    known = {"hf_hub": "owner/tower/", "quick_gelu": False}
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"hub": known})
    place = cache / "models--owner--tower" / "snapshots" / ("0" * 40)
    place.mkdir(parents=True)
    (cache / "models--owner--tower" / "refs").mkdir()
    (cache / "models--owner--tower" / "refs" / "main").write_text("0" * 40)
    shutil.copy(tiny, place / name)
    assert find_text_tower("tiny", "hub").path == place / name


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
