"""What runs of a model in the hub's format export for peft and transformers; runs that begin with such adapters."""

import ast
import inspect
import json
import re
import sys

import pytest
import torch
from hydra.utils import get_method
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from digrap.cli import export as cli
from digrap.cli.door import door
from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.engine import run as engine
from digrap.engine.rescore import trained_backbone
from digrap.runs.export import portable
from digrap.runs.export_forms import of_adapters
from digrap.runs.folder import RunFolder
from digrap.runs.predictions import read_bundle
from tests.conftest import SMALL
from tests.engine.runs import assert_resume_is_bit_equal, crash_at, evaluate, finished_run, results, weights
from tests.engine.test_vlm_run import write_questions
from tests.models import tiny_hf

pytestmark = pytest.mark.slow  # make test-all

EMBEDDING = "model.language_model.embed_tokens.weight"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_hf.paligemma(tmp_path_factory.mktemp("hub") / "pali")


@pytest.fixture(scope="module")
def overrides(model, tmp_path_factory):
    root = write_questions(tmp_path_factory.mktemp("questions") / "own")
    return [
        "dataset=vqa_json", f"dataset.root={root}", "dataset.far_ood=[far]", "backbone=paligemma_3b",
        f"backbone.model={model}", "peft=lora", "trainer=mini",
        "schedule=constant", "trainer.batch_size=8", "trainer.epochs=3", "log_every=1", "trainer.base.lr=0.03",
        "trainer.validate_every=1", "device=cpu",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(overrides, tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("runs") / "digrap", compose(overrides))


@pytest.fixture(scope="module")
def probed(overrides, tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("runs") / "lp", compose([*overrides, "optim=lp", "trainer.epochs=2"]))


@pytest.fixture
def export(tmp_path, monkeypatch):
    """A function that exports a run by the script's own main, and its exit code."""

    def call(folder, **options):
        out = tmp_path / "_".join(["out", *map(str, options.values())])
        given = [f"{key}={value}" for key, value in options.items()]
        monkeypatch.setattr(sys, "argv", ["export.py", f"run={folder}", f"out={out}", *given])
        return door(cli.main), out

    return call


def own(folder, cfg):
    backbone = trained_backbone(cfg, (), RunFolder(folder).weights())
    backbone.module.eval()
    return backbone


def answers(folder):
    return read_bundle(folder / "predictions.npz", folder if (folder / "labels").exists() else folder.parent).answers(
        "far"
    )


def embedding(model):
    return AutoModelForImageTextToText.from_pretrained(model, dtype=torch.bfloat16).get_input_embeddings().weight


def logits(backbone, module):
    inputs = backbone.answering.encode([Image.new("RGB", (48, 48), "red")] * 2, ["what color ?", "is it red ?"])
    with torch.no_grad():
        return module(**inputs).logits


def by_its_card(out, monkeypatch):
    """The model that the card's code makes, in the exported folder."""
    monkeypatch.chdir(out)
    names = {}
    exec((out / "README.md").read_text().split("```python\n")[1].split("```")[0], names)
    return names["model"]


def test_plain_peft_loads_the_adapters_with_identical_logits(finished, export, monkeypatch, capsys):
    folder, cfg = finished
    code, out = export(folder, form="adapter")
    assert code == 0 and "note: README.md contains folders of this machine: backbone.model=" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    backbone, loaded = own(folder, cfg), by_its_card(out, monkeypatch)
    assert isinstance(loaded, PeftModel) and torch.equal(logits(backbone, loaded), logits(backbone, backbone.module))
    assert "library_name: peft" in (out / "README.md").read_text()


def test_plain_transformers_loads_the_merged_model_with_identical_logits(finished, model, export, monkeypatch):
    """Merged in float32, then rounded to bfloat16: peft's own merge in float32 gives the same tensors."""
    folder, cfg = finished
    out = export(folder, form="merged")[1]
    backbone, loaded = own(folder, cfg), by_its_card(out, monkeypatch)
    assert loaded.dtype == torch.bfloat16 and "merged in float32, then rounded" in (out / "README.md").read_text()
    plain = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.bfloat16).float()
    merged = PeftModel.from_pretrained(plain, export(folder, form="adapter")[1]).merge_and_unload()
    expected = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.bfloat16).eval()
    expected.load_state_dict(merged.state_dict())
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in loaded.state_dict().items())
    assert torch.equal(logits(backbone, loaded), logits(backbone, expected))
    before = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.bfloat16).eval()
    trained, untrained = logits(backbone, backbone.module), logits(backbone, before)
    assert 0 < (logits(backbone, loaded) - trained).abs().mean() < 0.1 * (untrained - trained).abs().mean()
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
    assert (out / "processor_config.json").exists() and not list(out.glob("adapter*"))
    tokenizers = [json.loads((place / "tokenizer_config.json").read_text()) for place in (out, model)]
    assert tokenizers[0].get("padding_side") == tokenizers[1].get("padding_side")


def test_a_merged_model_is_a_backbone_of_its_own(finished, overrides, export, tmp_path):
    out = export(finished[0], form="merged")[1]
    found = [*overrides, f"backbone.model={out}", "peft=none", "optim=zero_shot"]
    engine.run(compose(found), tmp_path / "run")
    assert results(tmp_path / "run")["scores"]["far"]["n"] == results(finished[0])["scores"]["far"]["n"]


@pytest.mark.slow
def test_a_run_begins_with_exported_adapters_and_resumes(finished, overrides, export, tmp_path, monkeypatch):
    """Untrained they give the scores of the run that they are of; the next run stands on them and on the same base."""
    start = export(finished[0], form="adapter")[1]
    further = [*overrides, f"peft.start={start}"]
    engine.run(compose([*further, "optim=zero_shot"]), tmp_path / "zero")
    assert answers(tmp_path / "zero") == answers(finished[0])
    again = finished_run(tmp_path / "again", compose(further))
    assert_resume_is_bit_equal(monkeypatch, again, tmp_path / "cut")
    assert weights(again[0]).keys() == weights(finished[0]).keys()
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        crash_at(patch, 5)
        engine.run(compose([*further, "trainer.checkpoint_minutes=0"]), tmp_path / "other")
    file = start / "adapter_model.safetensors"
    tensors = {key: value * 2 for key, value in load_file(file).items()}
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(DigrapError, match="on top of .* with the adapters .*, but the backbone is now .* with the "):
        engine.run(compose(further), tmp_path / "other")


@pytest.mark.slow
def test_wise_ft_pulls_begun_adapters_to_the_model_below_them(finished, overrides, export, tmp_path):
    start = export(finished[0], form="adapter")[1]
    wise = ["optim=wise_ft", "optim.alpha=0", "optim.curve=[]", "trainer.epochs=1"]
    engine.run(compose([*overrides, f"peft.start={start}", *wise]), tmp_path / "wise")
    engine.run(compose([*overrides, "peft=none", "optim=zero_shot"]), tmp_path / "zero")
    assert answers(tmp_path / "wise") == answers(tmp_path / "zero") != answers(finished[0])


@pytest.mark.slow
def test_a_probed_head_leaves_the_embedding_and_both_are_exported(probed, model, export, tmp_path, monkeypatch, capsys):
    folder, cfg = probed
    (saved,) = weights(folder).values()
    before = embedding(model)
    module = own(folder, cfg).module
    assert torch.equal(module.lm_head.weight, saved) and not torch.equal(saved, before)
    assert torch.equal(module.get_input_embeddings().weight, before)
    out = export(folder, form="merged")[1]
    loaded = by_its_card(out, monkeypatch)
    assert torch.equal(loaded.lm_head.weight, saved) and torch.equal(loaded.get_input_embeddings().weight, before)
    assert torch.equal(logits(own(folder, cfg), loaded), logits(own(folder, cfg), module))
    whole = load_file(export(folder, form="run")[1] / "model.safetensors")
    assert torch.equal(whole["lm_head.weight"], saved) and torch.equal(whole[EMBEDDING], before)
    again = tmp_path / "again"
    evaluate(f"run={export(folder, form='run', edited='false')[1]}", "split=far", f"bundle={again}")
    assert answers(again) == answers(folder)
    capsys.readouterr()
    assert export(folder, form="adapter")[0] == 2
    assert "trained more than its adapters (lm_head.weight; 1 tensors)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_probed_run_resumes_bit_equal(probed, tmp_path, monkeypatch):
    assert_resume_is_bit_equal(monkeypatch, probed, tmp_path / "cut")


@pytest.mark.slow
def test_lora_from_a_probed_head_keeps_it(probed, overrides, model, tmp_path, export, monkeypatch):
    engine.run(compose([*overrides, "optim=lp_ft", "trainer.epochs=2"]), tmp_path / "lp_ft")
    saved, (head,) = weights(tmp_path / "lp_ft"), weights(probed[0]).values()
    assert torch.equal(saved["lm_head.weight"], head) and any("lora_B" in key for key in saved)
    loaded = by_its_card(export(tmp_path / "lp_ft", form="merged")[1], monkeypatch)
    assert torch.equal(loaded.lm_head.weight, head)
    assert torch.equal(loaded.get_input_embeddings().weight, embedding(model))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny_paligemma", "tiny_llava"])
def test_tiny_models_are_exported_too(name, overrides, tmp_path, export, monkeypatch):
    tiny = [override for override in overrides if not override.startswith("backbone")]
    cfg = compose([*tiny, f"backbone={name}", "trainer.epochs=1"])
    engine.run(cfg, tmp_path / "run")
    backbone = own(tmp_path / "run", cfg)
    merged = by_its_card(export(tmp_path / "run", form="merged")[1], monkeypatch)
    torch.testing.assert_close(logits(backbone, merged), logits(backbone, backbone.module))
    adapted = by_its_card(export(tmp_path / "run", form="adapter")[1], monkeypatch)
    assert torch.equal(logits(backbone, adapted), logits(backbone, backbone.module))


@pytest.mark.parametrize("name", ["blip_vqa", "albef_vqa", "tiny_blip", "tiny_albef"])
def test_the_card_gives_the_builders_of_lavis_all_that_they_need(name):
    cfg = portable(compose(["dataset=vqav2", f"backbone={name}", "backbone.candidates=5"]))
    make = ast.parse(re.search(r"^base = (.*)$", of_adapters(cfg), re.MULTILINE)[1], mode="eval").body.value
    given = {word.arg: ast.literal_eval(word.value) for word in make.keywords}
    bound = inspect.signature(get_method(cfg.backbone._target_)).bind(**given)
    assert bound.arguments["candidates"] == 5 and str(REPO) not in str(given)
    assert bound.arguments.get("folder") == ("weights" if name.endswith("_vqa") else None)


def test_forms_that_do_not_fit_are_refused_in_one_line(tmp_path, export, capsys):
    cfg = compose([*SMALL, f"data_root={tmp_path / 'data'}", "optim=vanilla", "trainer.epochs=1"])
    engine.run(cfg, tmp_path / "run")
    for form, text in (
        ("merged", "form=merged: .* is not a model of transformers, whose format this is; form=run writes all weights"),
        ("adapter", "form=adapter: peft=none has no adapters; give form=merged or form=run"),
        ("x", "form=x: choose one of run, adapter, merged"),
    ):
        capsys.readouterr()
        code, out = export(tmp_path / "run", form=form)
        assert code == 2 and not out.exists()
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1 and re.search(text, error)


def test_adapters_of_a_classifier_are_refused_in_one_line(tmp_path, export, capsys):
    vit = ["backbone=timm", "backbone.model=test_vit", "backbone.pretrained=false", "peft=lora", "peft.targets=[qkv]"]
    engine.run(compose([*SMALL, f"data_root={tmp_path / 'data'}", *vit, "trainer.epochs=1"]), tmp_path / "run")
    code, out = export(tmp_path / "run", form="adapter")
    error = capsys.readouterr().err
    assert code == 2 and not out.exists() and "form=adapter: backbone=timm is a classifier" in error
