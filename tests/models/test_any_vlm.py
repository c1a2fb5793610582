"""Vision-language models that have no config of their own, by `backbone=hf_vlm backbone.model=<folder>`."""

import logging

import pytest
import torch
from PIL import Image
from transformers import LlavaProcessor

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.engine.build import build_backbone
from digrap.models import vision_cache
from tests.models import tiny_hf

QUESTIONS, ANSWERS = ("Is it red?", "What is on the table?", "how many"), ("no", "a blue sun", "2")
MAKERS = {"gemma3": tiny_hf.gemma3, "qwen2_vl": tiny_hf.qwen2_vl}
PICTURE = {"gemma3": "\n\n<start_of_image>" + "<image>" * 4 + "<end_of_image>\n\n", "qwen2_vl": "<see><image><seen>"}


@pytest.fixture(scope="module", params=list(MAKERS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    return MAKERS[kind](tmp_path_factory.mktemp("hub") / kind)


def built(folder, *further, peft="none"):
    words = ["dataset=vqav2", "backbone=hf_vlm", f"backbone.model={folder}", "backbone.dtype=fp32", f"peft={peft}"]
    backbone = build_backbone(compose([*words, *further]), ())
    backbone.module.eval()
    return backbone


def pictures():
    """Of three sizes."""
    draw = torch.Generator().manual_seed(0)
    sizes = ((30, 30), (56, 30), (30, 90))
    noise = [torch.randint(256, (*size, 3), dtype=torch.uint8, generator=draw) for size in sizes]
    return [Image.fromarray(picture.numpy()) for picture in noise]


def test_lora_learns_and_the_model_answers(folder):
    backbone = built(folder, "trainer.decoding=card", peft="lora")
    answering, module = backbone.answering, backbone.module
    inputs, losses = answering.encode(pictures(), QUESTIONS, ANSWERS), []
    trained = [value for value in module.parameters() if value.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0)
    for _ in range(2):
        loss = answering.loss(module, inputs)
        loss.backward()
        assert all(value.grad is not None for value in trained)
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    together = answering.generate(module, answering.encode(pictures(), QUESTIONS))
    alone = [
        answering.generate(module, answering.encode([picture], [question]))[0]
        for picture, question in zip(pictures(), QUESTIONS, strict=True)
    ]
    assert together == alone and any(together)


def test_a_batch_has_the_loss_of_its_examples_and_can_be_divided(folder):
    answering, module = (backbone := built(folder)).answering, backbone.module
    inputs = answering.encode(pictures(), QUESTIONS, ANSWERS)
    assert {len(value) for value in inputs.values()} == {3}
    alone = [
        answering.loss(module, answering.encode(*[[x] for x in one]))
        for one in zip(pictures(), QUESTIONS, ANSWERS, strict=True)
    ]
    lengths = torch.tensor([len(answer) + 1 for answer in ANSWERS])
    torch.testing.assert_close(answering.loss(module, inputs), (torch.stack(alone) * lengths).sum() / lengths.sum())
    last = answering.loss(module, {name: value[2:] for name, value in inputs.items()})
    torch.testing.assert_close(last, alone[2])


def test_an_answer_sees_the_picture_and_nothing_that_comes_after_it(folder):
    answering, module = (backbone := built(folder)).answering, backbone.module
    logits = []
    for picture, answer in ((0, "blue"), (0, "blub"), (1, "blue")):
        inputs = answering.encode([pictures()[picture].resize((30, 30))], QUESTIONS[:1], [answer])
        labels = inputs.pop("labels")
        with torch.no_grad():
            logits.append(module(**inputs).logits[0, -labels.shape[1] - 1 :])
    first, other_end, other_picture = logits
    torch.testing.assert_close(first[:3], other_end[:3])
    assert (first[0] - other_picture[0]).abs().max() > 1e-4


def test_types_mark_the_pictures_tokens(folder):
    inputs = built(folder).answering.encode(pictures(), QUESTIONS, ANSWERS)
    (types,) = (value for name, value in inputs.items() if name.endswith("token_type_ids"))
    assert torch.equal(types == 1, inputs["input_ids"] == 3)


def test_the_prompt_is_the_chat_templates_where_there_is_one(kind, folder, caplog):
    caplog.set_level(logging.INFO)
    answering = built(folder).answering
    asked = answering.tokenizer.decode(answering.encode(pictures()[:1], ["how many"])["input_ids"][0])
    assert asked == f"[user] {PICTURE[kind]}Question: how many Answer:[model] "
    assert "Question: {question} Answer:" in caplog.text and "by its processor's chat template" in caplog.text
    plain = built(folder, "backbone.chat=false").answering
    text = plain.tokenizer.decode(plain.encode(pictures()[:1], ["how many"])["input_ids"][0])
    assert text.endswith("Question: how many Answer:") and "[" not in text and "without a chat template" in caplog.text


def test_a_chat_template_that_writes_the_start_itself_leaves_one(tmp_path):
    """As that of LLaVA-NeXT's Mistral does, whose tokenizer writes it too."""
    folder = tiny_hf.llava(tmp_path / "llava")
    file = folder / "chat_template.jinja"
    file.write_text("{{ '<s>' }}" + file.read_text())
    answering = built(folder).answering
    text = answering.tokenizer.decode(answering.encode(pictures()[:1], ["how many"])["input_ids"][0])
    assert text.startswith("<s>USER: <image>") and text.count("<s>") == 1


def test_pictures_of_several_sizes_have_no_cache(kind, folder, tmp_path):
    if kind == "gemma3":
        vision_cache.use_vision_cache(built(folder), (), tmp_path)
    else:
        with pytest.raises(DigrapError, match="it needs pictures of one size, but these have several; give trainer"):
            vision_cache.use_vision_cache(built(folder), (), tmp_path)


def test_a_processor_that_cuts_pictures_into_tiles_is_refused(tmp_path, monkeypatch):
    """Three tiles of two pictures: nothing says which is whose."""
    plain = LlavaProcessor.__call__

    def tiled(self, **given):
        found = plain(self, **given)
        found["pixel_values"] = torch.cat([found["pixel_values"], found["pixel_values"][:1]])
        return found

    monkeypatch.setattr(LlavaProcessor, "__call__", tiled)
    with pytest.raises(
        DigrapError, match="does not return one entry per picture .pixel_values., so no batch can be split"
    ):
        built(tiny_hf.llava(tmp_path / "llava"))
