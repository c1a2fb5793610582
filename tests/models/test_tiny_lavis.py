"""The tiny BLIP and ALBEF: sizes, seeds, what trains, and the shipped weights."""

import pytest
import torch

from tests.models.lavis_reference import EACH  # it skips without LAVIS
from tests.models.tiny import ANSWERS, QUESTIONS, pictures

from digrap.cli.pretrain_minivqa import measure  # isort: skip
from digrap.data.mini.vqa.pretraining import exam  # isort: skip
from digrap.methods.trained import choose_trained  # isort: skip
from digrap.models import lavis, tiny_lavis, tiny_vlm  # isort: skip
from digrap.models.depth import below_output  # isort: skip
from digrap.models.lora_layers import target_layers  # isort: skip
from digrap.models.tiny_processor import BOS, EOS, VOCABULARY  # isort: skip


@pytest.fixture(params=EACH)
def backbone(request):
    torch.manual_seed(0)
    return getattr(tiny_lavis, f"tiny_{request.param}")(pretrained=False)


def test_size_and_ties(backbone):
    module = backbone.module
    assert 0.8e6 < sum(param.numel() for param in module.parameters()) < 1.1e6
    assert type(module).__mro__[2].__module__.startswith("lavis.models.")
    decoder = module.text_decoder
    assert decoder.cls.predictions.decoder.weight is decoder.bert.embeddings.word_embeddings.weight
    assert not backbone.has_head and backbone.provenance == {"source": "random weights"}


def test_all_that_trains_has_a_gradient(backbone):
    inputs = backbone.answering.encode(pictures(), QUESTIONS, ANSWERS)
    backbone.answering.loss(backbone.module, inputs).backward()
    assert all(param.grad is not None for param in backbone.module.parameters())


def test_texts_have_the_form_of_berts(backbone):
    inputs = backbone.answering.encode(pictures()[:2], ["Is it red?", "is it <eos> red"], ["yes", "blue sun"])
    ends = [VOCABULARY.index(token) for token in (BOS, EOS)]
    for name, rows in (("question", ["is it red ?", "is it red"]), ("answer", ["yes", "blue sun"])):
        for ids, mask, text in zip(inputs[name], inputs[f"{name}_mask"], rows, strict=True):
            words = [VOCABULARY.index(word) for word in text.split()]
            assert ids[mask.bool()].tolist() == [ends[0], *words, ends[1]]
    assert inputs["image"].shape == (2, 3, 48, 48)


def test_a_probed_head_is_the_decoders_alone(backbone):
    module = backbone.module
    choose_trained(module, "head", backbone.head)
    trained = {name for name, param in module.named_parameters() if param.requires_grad}
    assert trained and all(name.startswith("text_decoder.cls.") for name in trained)
    embedding = module.text_decoder.bert.embeddings.word_embeddings.weight
    assert module.text_decoder.cls.predictions.decoder.weight is not embedding
    inputs = backbone.answering.encode(pictures(), QUESTIONS, ANSWERS)
    backbone.answering.loss(module, inputs).backward()
    assert all(module.get_parameter(name).grad is not None for name in trained)


def test_each_tower_has_its_layers_for_falling_rates(backbone):
    found = below_output(backbone.module)
    assert found["visual_encoder.pos_embed"] == found["visual_encoder.cls_token"] == 3
    assert found["visual_encoder.blocks.1.norm1.weight"] == found["text_encoder.encoder.layer.1.output.dense.bias"] == 1
    assert found["text_encoder.embeddings.word_embeddings.weight"] == 3
    assert found["text_decoder.cls.predictions.transform.dense.weight"] == 0


@pytest.mark.slow
def test_the_shipped_weights_see():
    """Colors and names are answered from the picture: with shuffled pictures far fewer are right."""
    backbone = tiny_lavis.tiny_blip()
    found = measure(backbone, exam(seed=1, style="plain", count=60))
    assert backbone.provenance["sha256"] == tiny_vlm.WEIGHTS_SHA256["tiny_blip"]
    assert found["colors"] > found["shuffled colors"] + 15
    assert found["names"] > found["shuffled names"] + 15


@pytest.mark.slow
@pytest.mark.parametrize("kind, layers, size", [("blip", 216, 361_478_972), ("albef", 144, 290_332_986)])
def test_the_real_sizes(kind, layers, size):
    vision = {"img_size": {"blip": 480, "albef": 384}[kind], **lavis.VISION}
    module = lavis.make_module(kind, vision, lavis.text_sizes(kind), lavis.DECODER_LAYERS)
    assert sum(param.numel() for param in module.parameters()) == size
    assert len(target_layers(module, "authors")) == layers
