"""Models in the hub's format, loaded by path: the processors' strings, loss, answers, LoRA, and what is refused."""

import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import PaliGemmaForConditionalGeneration

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.engine.build import build_backbone
from digrap.models import vlm
from digrap.models.backbone import Backbone
from digrap.models.hf_vlm import hf_vlm
from tests.models import tiny_hf

NAMES = ("paligemma_3b", "llava_7b")
QUESTIONS = ("Is it red?", "What is on the table?", "how many")
ANSWERS = ("no", "a blue sun", "2")
STRINGS = {  # what the authors' processors make of a question, to train and to test; four tokens a picture
    "paligemma_3b": ("<image>" * 4 + "<s>{}\n", "<image>" * 4 + "<s>Question: {} Answer:\n"),
    "llava_7b": (
        "<s>USER: " + "<image>" * 4 + "\n{} ASSISTANT:",
        "<s>USER: " + "<image>" * 4 + "\nQuestion: {} Answer: ASSISTANT:",
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    return {name: make(root / name) for name, make in tiny_hf.MAKERS.items()}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def options(name, folder, *further):
    return [f"backbone={name}", f"backbone.model={folder}", "backbone.dtype=fp32", *further]


def built(name, folder, *further, peft="none") -> Backbone:
    """The backbone as a run makes it of the dataset's default config."""
    backbone = build_backbone(compose(["dataset=vqav2", *options(name, folder), f"peft={peft}", *further]), ())
    backbone.module.eval()
    return backbone


def pictures():
    noise = torch.randint(256, (3, 30, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return [Image.fromarray(picture.numpy()) for picture in noise]


def test_the_processors_strings_are_the_authors(name, folders):
    answering = built(name, folders[name]).answering
    trained = answering.encode(pictures(), QUESTIONS, ANSWERS)
    tested = answering.encode(pictures(), QUESTIONS)
    read = answering.tokenizer.decode
    train, test = STRINGS[name]
    for k, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True)):
        kept = trained["input_ids"][k][trained["attention_mask"][k].bool()]
        assert read(kept) == train.format(question) + answer + "</s>"
        assert read(tested["input_ids"][k][tested["attention_mask"][k].bool()]) == test.format(question)


def test_domainnet_ovqa_asks_for_a_short_answer(name, folders):
    cfg = compose(["dataset=domainnet_ovqa", *options(name, folders[name]), "peft=none"])
    inputs = build_backbone(cfg, ()).answering.encode(pictures()[:1], ["What is in the image?"])
    text = STRINGS[name][1].replace("Answer:", "Short answer:").format("What is in the image?")
    assert built(name, folders[name]).answering.tokenizer.decode(inputs["input_ids"][0]) == text


def test_labels_are_the_answers_and_padding_is_on_the_left(name, folders):
    answering = built(name, folders[name]).answering
    inputs = answering.encode(pictures(), QUESTIONS, ANSWERS)
    labels = inputs["labels"]
    for row, answer in zip(labels, ANSWERS, strict=True):
        assert answering.tokenizer.decode(row[row != -100]) == answer + "</s>" and row[-1] == 2
    assert labels.shape == (3, len("a blue sun") + 1)
    first = inputs["attention_mask"].argmax(1)
    assert (first > 0).sum() == 2
    for row, start in zip(inputs["input_ids"], first, strict=True):
        assert (row[:start] == 0).all() and (row[start:] != 0).all()
    assert ("token_type_ids" in inputs) == (name == "paligemma_3b")
    assert inputs["pixel_values"].shape == (3, 3, 28, 28)


def test_the_loss_is_that_of_transformers_and_padding_changes_nothing(name, folders):
    backbone = built(name, folders[name])
    answering, module = backbone.answering, backbone.module
    inputs = answering.encode(pictures(), QUESTIONS, ANSWERS)
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[:, -inputs["labels"].shape[1] :] = inputs["labels"]
    together = answering.loss(module, inputs)
    torch.testing.assert_close(together, module(**{**inputs, "labels": labels}).loss)
    alone = [
        answering.loss(module, answering.encode(*[[x] for x in one]))
        for one in zip(pictures(), QUESTIONS, ANSWERS, strict=True)
    ]
    lengths = torch.tensor([len(answer) + 1 for answer in ANSWERS])
    torch.testing.assert_close(together, (torch.stack(alone) * lengths).sum() / lengths.sum())


def test_paligemma_needs_its_token_types(folders):
    backbone = built("paligemma_3b", folders["paligemma_3b"])
    inputs = backbone.answering.encode(pictures(), QUESTIONS, ANSWERS)
    assert inputs["token_type_ids"].sum(1).tolist() == [len(answer) + 1 for answer in ANSWERS]
    inputs.pop("labels")
    with torch.no_grad():
        known = backbone.module(**inputs).logits
        inputs["token_type_ids"] = torch.ones_like(inputs["token_type_ids"])
        assert (known - backbone.module(**inputs).logits)[inputs["attention_mask"].bool()].abs().max() > 0.01


@pytest.mark.parametrize(("decoding", "beams"), [("greedy", 1), ("card", 5)])
def test_a_batch_is_answered_as_each_question_alone(name, decoding, beams, folders):
    backbone = built(name, folders[name], f"trainer.decoding={decoding}")
    answering, module = backbone.answering, backbone.module
    together = answering.generate(module, answering.encode(pictures(), QUESTIONS))
    alone = [
        answering.generate(module, answering.encode([picture], [question]))[0]
        for picture, question in zip(pictures(), QUESTIONS, strict=True)
    ]
    assert together == alone and len(set(together)) > 1
    assert backbone.notes == {"decoding": {"name": decoding, "beams": beams, "max_new_tokens": 10}}


def test_five_beams_answer_as_with_a_static_cache(name, folders, monkeypatch):
    """Ours is a dynamic one in which each prompt is read once."""
    backbone = built(name, folders[name], "trainer.decoding=card")
    answering, module, plain = backbone.answering, backbone.module, backbone.module.generate
    inputs = answering.encode(pictures(), QUESTIONS)
    found = answering.generate(module, inputs)

    def static(**given):
        given["generation_config"].cache_implementation = "static"
        return plain(**given)

    monkeypatch.setattr(vlm, "READ_ONCE", ())
    monkeypatch.setattr(module, "generate", static)
    assert answering.generate(module, inputs) == found and len(set(found)) > 1


def test_attention_is_torchs_own_as_paligemma_refuses_flash_attention(name, folders):
    config = built(name, folders[name]).module.config
    kinds = {part._attn_implementation for part in (config, config.text_config, config.vision_config)}
    assert kinds == {"sdpa"}


def test_lora_has_float32_adapters_over_bf16_and_leaves_out_what_has_no_gradient(name, folders):
    backbone = built(name, folders[name], "backbone.dtype=bf16", peft="lora")
    found = {key: value for key, value in backbone.module.named_parameters() if value.requires_grad}
    assert {value.dtype for value in found.values()} == {torch.float32} and all("lora_" in key for key in found)
    assert backbone.module.lm_head.weight.dtype == torch.bfloat16
    backbone.answering.loss(backbone.module, backbone.answering.encode(pictures(), QUESTIONS, ANSWERS)).backward()
    assert all(value.grad is not None for value in found.values())
    assert len([key for key in found if "vision_tower" in key]) == 2 * 2 * 3


def test_full_fine_tuning_trains_all_but_what_has_no_gradient(name, folders):
    backbone = built(name, folders[name])
    backbone.answering.loss(backbone.module, backbone.answering.encode(pictures(), QUESTIONS, ANSWERS)).backward()
    frozen = {key for key, value in backbone.module.named_parameters() if not value.requires_grad}
    assert all(value.grad is not None for value in backbone.module.parameters() if value.requires_grad)
    assert all(".layers.2." in key or ".post_layernorm." in key for key in frozen) and bool(frozen) == ("llava" in name)


def test_gradient_checkpointing_changes_no_gradient_under_lora(name, folders):
    grads = []
    for flag in ("false", "true"):
        backbone = built(name, folders[name], f"backbone.gradient_checkpointing={flag}", "peft.dropout=0", peft="lora")
        module = backbone.module.train()
        for key, value in module.named_parameters():
            if "lora_B" in key:
                torch.nn.init.constant_(value, 0.1)
            elif "lora_A" in key:
                torch.nn.init.eye_(value)
        backbone.answering.loss(module, backbone.answering.encode(pictures(), QUESTIONS, ANSWERS)).backward()
        grads.append({key: value.grad for key, value in module.named_parameters() if value.requires_grad})
        assert any(getattr(part, "gradient_checkpointing", False) for part in module.modules()) == (flag == "true")
    assert all(value.abs().sum() > 0 for value in grads[1].values())
    for key, value in grads[0].items():
        torch.testing.assert_close(value, grads[1][key])


def test_provenance_names_files_and_what_prepares_pictures(name, folders):
    own = built(name, folders[name]).provenance
    assert own["source"] == "file" and own["model"] == str(folders[name]) and len(own["sha256"]) == 64
    assert own["image_processor"].endswith("ImageProcessor (torchvision)")
    pil = built(name, folders[name], "backbone.image_backend=pil").provenance
    assert pil["image_processor"].endswith("ImageProcessorPil (pil)") and pil["sha256"] == own["sha256"]


def spoilt(folders, tmp_path, name="paligemma_3b"):
    return shutil.copytree(folders[name], tmp_path / name)


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_another_resolution_is_refused(folders, tmp_path):
    with pytest.raises(DigrapError, match="backbone.image_size=56: .* was trained at 28 pixels; give that or null"):
        built("paligemma_3b", folders["paligemma_3b"], "backbone.image_size=56")
    built("paligemma_3b", folders["paligemma_3b"], "backbone.image_size=28")
    folder = tiny_hf.llava(tmp_path / "llava", size=42)
    with pytest.raises(DigrapError, match="makes pictures of 42 x 42 pixels, but the model was trained at 28"):
        built("llava_7b", folder)


def test_a_processor_that_writes_other_tokens_than_the_model_has_features_is_refused(folders, tmp_path):
    """As that of LLaVA's earlier revisions does, which does not count the class token."""
    folder = spoilt(folders, tmp_path, "llava_7b")
    edit(folder / "processor_config.json", num_additional_image_tokens=0)
    with pytest.raises(DigrapError, match="writes 3 tokens for a picture, but the model has 4 features"):
        built("llava_7b", folder)


def test_a_model_that_wants_more_than_pixels_is_left_to_its_own_checks(folders, monkeypatch):
    def get_image_features(self, pixel_values, image_sizes):
        pytest.fail("never reached: an argument is missing")

    monkeypatch.setattr(PaliGemmaForConditionalGeneration, "get_image_features", get_image_features)
    assert built("paligemma_3b", folders["paligemma_3b"]).answering is not None


def test_damaged_folders_are_named(folders, tmp_path):
    folder = spoilt(folders, tmp_path)
    state = load_file(folder / "model.safetensors")
    del state[next(key for key in state if "self_attn" in key)]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DigrapError, match="do not fit the model .missing keys: .*self_attn.*; 1 in all"):
        built("paligemma_3b", folder)
    (folder / "model.safetensors").write_bytes(b"x" * 99)
    with pytest.raises(DigrapError, match=f"the weights in {folder} cannot be loaded"):
        built("paligemma_3b", folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DigrapError, match="the folder has no model.safetensors; it must be complete"):
        built("paligemma_3b", folder)
    (folder / "config.json").write_text("{")
    shutil.copy(folders["paligemma_3b"] / "model.safetensors", folder)
    with pytest.raises(DigrapError, match="config.json is not readable"):
        built("paligemma_3b", folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "backbone.model=null: give a folder, or a model of the Hugging Face hub"),
        ({"model": "/no/such/folder"}, "backbone.model=/no/such/folder: there is no such folder"),
        ({"dtype": "int8"}, "backbone.dtype=int8: choose one of bf16, fp16, fp32"),
        ({"image_backend": "cv2"}, "backbone.image_backend=cv2: choose one of torchvision, pil"),
        ({"chat": "yes"}, "backbone.chat=yes: give true, false, or null"),
        ({"chat": True}, "backbone.chat=true: .* has no chat template"),
        ({"image_size": "big"}, "backbone.image_size=big: give a whole number"),
        ({"prompt": "Answer:"}, "backbone.prompt='<image>Answer:': give a text that has {question} once"),
        ({"prompt": "<image><image>{question}"}, "does not take a picture with backbone.prompt='<image><image>{quest"),
    ],
)
def test_bad_options(changes, message, folders):
    with pytest.raises(DigrapError, match=message):
        hf_vlm(**{"model": str(folders["paligemma_3b"]), "prompt": "{question}", **changes})


def test_a_model_that_answers_no_questions_is_refused(tmp_path, folders):
    folder = spoilt(folders, tmp_path)
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(DigrapError, match="no model of type vit that answers questions"):
        built("paligemma_3b", folder)
