"""Memory from shapes: against the real models without weights, real optimizers, and the real config classes."""

import json

import pytest
import torch
from hydra.utils import instantiate
from transformers import CLIPVisionConfig, GemmaConfig, LlamaConfig, SiglipVisionConfig

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.models import lora_layers
from digrap.tables import cost, memory
from digrap.tables.changes import changes_runs
from digrap.tables.missing_runs import Plan
from digrap.tables.spec import load_table
from digrap.tables.vlm_shapes import DEFAULTS, LLAVA, shapes_of, shapes_of_model
from tests.models.real_sizes import CONFIGS, TOKENS, adapted, kept_for_backward, with_adapters, without_weights

MODELS = {"paligemma_3b": "google/paligemma-3b-pt-224", "llava_7b": "llava-hf/llava-1.5-7b-hf"}
BOTH = pytest.mark.parametrize("name", MODELS)
CLASSES = {"siglip_vision_model": SiglipVisionConfig, "clip_vision_model": CLIPVisionConfig, "gemma": GemmaConfig,
           "llama": LlamaConfig}  # fmt: skip


def need(*overrides):
    return memory.need(compose(["dataset=vqav2", *overrides]))


@BOTH
def test_shapes_are_those_of_the_real_config(name, tmp_path):
    config = CONFIGS[name]()
    known = shapes_of_model(MODELS[name])
    assert known == shapes_of(config.to_dict())
    config.save_pretrained(tmp_path)
    assert known == shapes_of_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    assert shapes_of_model(str(tmp_path)) is None and shapes_of_model("Qwen/Qwen2-VL-2B-Instruct") is None


def test_what_a_config_leaves_out_is_what_transformers_takes():
    for kind, own in DEFAULTS.items():
        theirs = CLASSES[kind]()
        own = {key: value for key, value in own.items() if value is not None}  # None: of the other values
        assert own == {key: getattr(theirs, key) for key in own}, kind
    llama = CLASSES["llama"]()
    assert (llama.num_key_value_heads, llama.head_dim) == (32, 4096 // 32)
    assert shapes_of_model("google/paligemma-3b-mix-448").vision.patches == 1024
    assert shapes_of(json.loads(json.dumps(LLAVA))).text.kv_heads == 32


@BOTH
def test_parameters_are_those_of_the_real_model(name):
    module, shapes = without_weights(name).module, shapes_of_model(MODELS[name])
    assert shapes.parameters() == sum(param.numel() for param in module.parameters())
    assert shapes.unused() == sum(param.numel() for param in module.parameters() if not param.requires_grad)
    assert shapes.head == module.get_output_embeddings().weight.numel()


@BOTH
@pytest.mark.parametrize("targets", ["authors", "card", "language", ("q_proj", "v_proj")])
def test_adapters_are_those_of_the_real_model(name, targets):
    shapes, names = shapes_of_model(MODELS[name]), memory.TARGETS.get(targets, targets)
    found = shapes.adapters(shapes.adapted(names, targets == "language"), r=8)
    assert found == sum(param.numel() for pair in adapted(name, targets).values() for param in pair)
    assert memory.TARGETS == lora_layers.TARGETS


@BOTH
@pytest.mark.parametrize("peft", ["lora", "none"])
@pytest.mark.parametrize("layers", [(3, 2), pytest.param(None, marks=pytest.mark.slow)])
def test_what_a_step_keeps_is_what_the_real_model_keeps(name, peft, layers, monkeypatch):
    """With plain operations; a picture's whole sequence, two examples."""
    backbone, length = without_weights(name, layers), TOKENS[name] + memory.TEXT
    shapes = shapes_of(backbone.module.config.to_dict())
    chosen = shapes.adapted(memory.QKVO) if peft == "lora" else None
    module = with_adapters(backbone) if peft == "lora" else backbone.module
    real = kept_for_backward(module, name, 2, length, memory.ANSWER, monkeypatch)
    found = shapes.kept(length, memory.ANSWER, chosen, 8, plain=True)
    # The first layer keeps less, LLaVA's unused one something; of few layers that is a larger share.
    assert 2 * (found["layers"] + found["logits"]) == pytest.approx(real, rel=0.12 if layers else 0.02)
    gpu = shapes.kept(length, memory.ANSWER, chosen, 8)
    assert gpu["inputs"] < gpu["layers"] < found["layers"] and gpu["logits"] == found["logits"]


@pytest.mark.parametrize("optim", ["vanilla", "digrap", "ftp", "spd", "l2sp", "mars_sp"])
@pytest.mark.parametrize("peft", ["lora", "none"])
@pytest.mark.parametrize("base", ["adamw", "sgd"])
def test_optimizer_state_is_what_the_optimizer_keeps(optim, peft, base):
    """Of tensors as large as the parameter: moments, anchors, and DiGraP's δ; ω is a number a tensor."""
    options = [f"trainer.base.name={base}", f"trainer.base.momentum={0.9 if base == 'sgd' else 0.0}", f"peft={peft}"]
    cfg = compose(["dataset=vqav2", f"optim={optim}", *options])
    param = torch.nn.Parameter(torch.ones(30, 40))
    param.grad = torch.ones_like(param)
    optimizer = instantiate(cfg.optim.optimizer, _convert_="all")([param])
    for _ in range(2):
        optimizer.step()
    kept = [value for value in optimizer.state[param].values() if isinstance(value, torch.Tensor)]
    assert sum(value.numel() for value in kept) // param.numel() == memory.tensors(cfg)


def test_a_method_that_is_not_known_and_options_that_are_not_computed_are_said():
    assert need("peft=qlora") == "peft=qlora" and need("backbone.dtype=fp32") == "backbone.dtype=fp32"
    assert need("optim=tpgm", "optim.optimizer._target_=mine.Rule") == "optim=tpgm"
    assert "backbone.model=a/b is neither" in need("backbone.model=a/b")


def test_methods_differ_by_their_state():
    vanilla, digrap = need("optim=vanilla"), need("optim=digrap")
    assert (vanilla.state, digrap.state) == (3 * 4 * 3_336_192, 4 * 4 * 3_336_192)
    full = need("optim=digrap", "peft=none")
    assert full.state == 5 * 2 * 2_923_466_480 and full.weights == 2 * 2_923_466_480
    head, zero = need("optim=lp"), need("optim=zero_shot")
    assert head.weights - vanilla.weights == 2 * 257216 * 2048 and head.example < vanilla.example
    assert zero.state == 0 and zero.example is None and zero.fits(16) == "yes"


def test_a_probed_head_is_no_longer_the_embedding():
    """LP-FT is initialised from LP's run: LoRA beside a head of its own, which full fine-tuning trains too."""
    head = 2 * 257216 * 2048
    lora, full = [(need(*peft, "optim=vanilla"), need(*peft, "optim=lp_ft")) for peft in ([], ["peft=none"])]
    assert [after.weights - before.weights for before, after in (lora, full)] == [head, head]
    assert [after.state - before.state for before, after in (lora, full)] == [0, 3 * head]
    llava = [need("backbone=llava_7b", f"optim={name}") for name in ("vanilla", "lp_ft")]
    assert llava[0] == llava[1]  # its head is never the embedding


def test_a_loss_on_all_tokens_has_logits_of_all():
    llava = ("backbone=llava_7b", "trainer=vqa")
    more = need(*llava, "trainer.loss_on=all").checkpointed - need(*llava).checkpointed
    assert more == 3 * (TOKENS["llava_7b"] + memory.TEXT - memory.ANSWER) * 32064 * 4


@pytest.mark.parametrize("card", memory.CARDS)
@pytest.mark.parametrize("backbone", MODELS)
def test_what_is_advised_fits_and_nothing_larger_does(card, backbone):
    found = need(f"backbone={backbone}", "optim=digrap")
    limit = 0.9 * card * 1e9
    changes = dict(change.split() if " " in change else (change, "") for change in found.fits(card).split(", "))
    if "no" in changes:
        assert found.step(1, True) > limit or found.test(1) > limit
        return
    micro, tests = int(changes.get("micro", found.micro)), int(changes.get("test", found.tests))
    again = need(
        f"backbone={backbone}", "optim=digrap", f"trainer.micro_batch={micro}", f"trainer.eval_batch_size={tests}",
        f"backbone.gradient_checkpointing={str('ckpt' in changes).lower()}",
    )  # fmt: skip
    assert again.fits(card) == "yes" and again.step(micro, "ckpt" in changes) <= limit
    assert micro == found.micro or found.step(2 * micro, "ckpt" in changes) > limit
    assert tests == found.tests or found.test(2 * tests) > limit


def test_a_dry_run_says_what_fits(tmp_path):
    table = load_table("3", seeds=[100])
    text = cost.dry_run(Plan(table, tmp_path))
    assert "Memory of one GPU in GB, computed from tensor shapes" in text and "16 GB" in text and "80 GB" in text
    assert "\n          FTP, DiGraP, DiGraP + λ\n" in text and "\n          full FT\n" in text
    named = "".join(memory.memory_lines(table, []))
    assert all(row.own_label in named for row in table.rows.values())
    assert not list(memory.memory_lines(load_table("demo"), []))
    (line,) = memory.memory_lines(load_table("4b", extra=("backbone.model=a/b",)), [])
    assert line.startswith("Memory of vanilla, µ = 0.01") and "not computed (backbone.model=a/b is neither" in line
    assert "themselves" not in text
    blocks = "".join(memory.memory_lines(load_table("8"), []))
    # No command line changes it, which the sweeper says.
    assert "The rows set trainer.micro_batch themselves: change it in configs/tables/8.yaml." in blocks
    with pytest.raises(DigrapError, match="trainer.micro_batch: the rows of table=8 set it themselves"):
        changes_runs(load_table("8"), ["trainer.micro_batch=3"])
    assert "DiGraP (card)" in blocks and "DiGraP (snapshot)" in blocks  # their batches differ


def test_advice_that_makes_other_runs_says_so():
    """Who gives it to train.py alone gets a table without these runs."""
    hashes = [load_table("4b", extra=extra).cell("vanilla", 100).hash for extra in (
        (), ("trainer.eval_batch_size=4",), ("trainer.micro_batch=4",), ("backbone.gradient_checkpointing=true",),
    )]  # fmt: skip
    assert hashes[0] == hashes[1] and len(set(hashes)) == 3
    text = "\n".join(memory.memory_lines(load_table("4b"), []))
    assert "A run's hash holds the\n  first two: give them to status.py and make_tables.py too." in text


def test_the_documented_memory():
    page = (REPO / "docs" / "vlm.md").read_text(encoding="utf-8")
    for backbone in MODELS:
        for title, options in {"LoRA, DiGraP": ["optim=digrap"], "full, AdamW": ["optim=vanilla", "peft=none"],
                               "full, DiGraP": ["optim=digrap", "peft=none"]}.items():  # fmt: skip
            found = need(f"backbone={backbone}", *options)
            numbers = (found.weights, found.state, found.step(16, False), found.step(16, True), found.test(16))
            cells = " | ".join(f"{number / 1e9:.1f}" for number in numbers)
            fits = " | ".join(found.fits(card) for card in memory.CARDS)
            assert (row := f"| `{backbone}`, {title} | {cells} | {fits} |") in page, row
