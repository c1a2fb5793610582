"""The tiny models: their size, which of their parameters learn, and their weight files."""

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from digrap.cli.pretrain_minivqa import measure, said
from digrap.core.errors import DigrapError
from digrap.data.mini.vqa import twins
from digrap.data.mini.vqa.pictures import write_pictures
from digrap.data.mini.vqa.pretraining import exam
from digrap.models import tiny_vlm
from digrap.models.tiny_processor import VOCABULARY
from tests.data.minivqa import prior, score
from tests.models.tiny import ANSWERS, NAMES, QUESTIONS, options, pictures, tiny

CLASSES = {"tiny_paligemma": "PaliGemmaForConditionalGeneration", "tiny_llava": "LlavaForConditionalGeneration"}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_size(name):
    module = tiny(name).module
    assert type(module).__name__ == CLASSES[name] and type(module).__module__.startswith("transformers.models")
    assert 0.8e6 < sum(param.numel() for param in module.parameters()) <= 1e6
    assert module.get_output_embeddings().weight.shape[0] == len(VOCABULARY)
    tied = module.lm_head.weight is module.get_input_embeddings().weight
    assert tied == (name == "tiny_paligemma")  # as in the real ones


@pytest.mark.parametrize("option", ["prompt", "train_prompt"])
def test_a_prompt_without_the_pictures_place_is_refused(name, option):
    with pytest.raises(DigrapError, match=f"backbone.{option}='Q: {{question}}': give a text that has <image> once"):
        tiny(name, **{option: "Q: {question}"})


def test_all_that_trains_has_a_gradient(name):
    backbone = tiny(name)
    inputs = backbone.answering.encode(pictures(), QUESTIONS, ANSWERS)
    backbone.answering.loss(backbone.module, inputs).backward()
    named = list(backbone.module.named_parameters())
    assert all(param.grad is not None for _, param in named if param.requires_grad)
    frozen = {key for key, param in named if not param.requires_grad}
    assert bool(frozen) == (name == "tiny_llava")
    assert all("vision_tower" in key and (".layers.2." in key or ".post_layernorm." in key) for key in frozen)


def test_random_weights_follow_the_seed(name):
    first, second = tiny(name), tiny(name)
    state = second.module.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in first.module.state_dict().items())
    assert first.provenance == {"source": "random weights"} and not first.has_head


def test_weights_of_half_precision_are_loaded_as_float32(name, tmp_path):
    made = tiny(name)
    half = {key: value.half().clone() for key, value in made.module.state_dict().items()}
    save_file(half, tmp_path / "own.safetensors")
    loaded = tiny(name, pretrained=True, weights=str(tmp_path / "own.safetensors"))
    assert loaded.has_head and loaded.provenance["source"] == "file" and "sha256" in loaded.provenance
    for key, value in loaded.module.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, half[key].float())
    assert (loaded.module.lm_head.weight is loaded.module.get_input_embeddings().weight) == (name == "tiny_paligemma")


def test_missing_weights_end_in_a_remedy_that_helps(name, tmp_path, monkeypatch):
    place = (tmp_path / f"{name}.safetensors").resolve()
    monkeypatch.setitem(tiny_vlm.WEIGHTS, name, place)
    monkeypatch.delitem(tiny_vlm.WEIGHTS_SHA256, name, raising=False)
    with pytest.raises(
        DigrapError, match=f"there is no such file; .*pretrain_minivqa.py model={name}` makes them; back"
    ):
        tiny(name, pretrained=True)
    tiny(name, pretrained=False)
    save_file({key: value.half().clone() for key, value in tiny(name).module.state_dict().items()}, place)  # as it does
    tiny(name, pretrained=True)


def test_damaged_and_foreign_weights_end_in_one_message(name, tmp_path, monkeypatch):
    place = (tmp_path / "other.safetensors").resolve()
    save_file({"a": torch.zeros(1)}, place)
    with pytest.raises(DigrapError, match="the weights do not fit the model .*unknown keys: a; missing keys"):
        tiny(name, pretrained=True, weights=place)
    monkeypatch.setitem(tiny_vlm.WEIGHTS, name, place)
    monkeypatch.setitem(tiny_vlm.WEIGHTS_SHA256, name, "0" * 64)
    with pytest.raises(DigrapError, match="damaged or of another version .*git checkout -- data/mini/"):
        tiny(name, pretrained=True)


def test_weights_of_another_release_are_not_taken_for_it(name, tmp_path):
    """Also for the config of an old run, which names none: its zero-shot scores are not those of today's weights."""
    given = {key: value for key, value in options(name).items() if key != "release"}
    for release in ({}, {"release": 1}, {"release": 3}):
        number = release.get("release", 1)
        with pytest.raises(DigrapError, match=f"release={number}: the shipped {name} is release 2.*leave the opt"):
            getattr(tiny_vlm, name)(**given, **release)
    copy = tmp_path / "own.safetensors"
    copy.write_bytes(tiny_vlm.WEIGHTS[name].read_bytes())
    assert getattr(tiny_vlm, name)(**given, weights=copy).provenance["source"] == "file"


def test_the_shipped_weights_see():
    """Colors and names are answered from the picture: with shuffled pictures far fewer are right."""
    backbone = tiny("tiny_paligemma", pretrained=True)
    found = measure(backbone, exam(seed=2, style="real", count=60))
    assert backbone.provenance["sha256"] == tiny_vlm.WEIGHTS_SHA256["tiny_paligemma"]
    assert found["colors"] > 50 > 35 > found["shuffled colors"]
    assert found["names"] > 40 > 20 > found["shuffled names"]


def test_zero_shot_is_above_the_prior_and_needs_the_picture(name, tmp_path):
    """On ID questions; with the pictures of other questions the model falls to what the question alone tells."""
    rows = twins.vqav2(0, "val", 300)
    write_pictures(tmp_path, 0, [row.picture for row in rows])
    seen = [Image.open(tmp_path / row.picture.file) for row in rows]
    backbone, of_form = tiny(name, pretrained=True), prior(lambda ask: ask.form)
    blind = score(rows, [of_form[row.ask.form] for row in rows])
    found, shuffled = (
        score(rows, said(backbone, shown, [row.text for row in rows])) for shown in (seen, [*seen[150:], *seen[:150]])
    )
    assert found > blind + 8 and shuffled <= blind, (found, shuffled, blind)


def test_the_shipped_weights_are_small():
    assert sum(tiny_vlm.WEIGHTS[name].stat().st_size for name in NAMES) <= 5_000_000


def test_the_shipped_weights_name_single_symbols(name):
    """Well in the domains of pre-training; in fine-tuning's better than by chance, with much to learn."""
    found = measure(tiny(name, pretrained=True), exam(seed=2, style="single", count=100))
    assert found["clipart"] > 30 and found["sketch"] > 25 and 50 > found["real"] > 5
    assert max(value for key, value in found.items() if "shuffled" in key) < 10
