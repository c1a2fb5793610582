"""Anchors of peft's adapters: `param_groups(model, peft=True)`, and what each rule does with them."""

import copy

import pytest
import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoraConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
    inject_adapter_in_model,
)
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from digrap.optim import FTP, SPD, DiGraP, param_groups
from tests.optim.infos import EVERY

TARGETS = ["q_proj", "v_proj"]


def llama(cls=LlamaForCausalLM):
    torch.manual_seed(0)
    sizes = dict(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    return cls(
        LlamaConfig(
            **sizes,
            num_key_value_heads=2,
            max_position_embeddings=16,
            num_labels=2,
            pad_token_id=0,
            initializer_range=0.3,
        )
    )


def adapted(config, cls=LlamaForCausalLM):
    return get_peft_model(llama(cls), config)


def lora(**options):
    return LoraConfig(**({"task_type": "CAUSAL_LM", "r": 4, "target_modules": TARGETS} | options))


def anchors_of(optimizer):
    """{shortened parameter name: anchor option}"""
    return {
        name.replace(".default", "").replace(".weight", "").removeprefix("base_model.model."): group["anchor"]
        for group in optimizer.param_groups
        for name in group["param_names"]
    }


def kinds(model, cls=DiGraP, **options):
    """{last part of the parameter name: anchor option}"""
    found = anchors_of(cls(param_groups(model, peft=True, **options)))
    return {name.rpartition(".")[2]: anchor for name, anchor in found.items()}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (lora(), {"lora_A": "zero", "lora_B": "zero"}),
        (lora(init_lora_weights="gaussian"), {"lora_A": "zero", "lora_B": "zero"}),
        (lora(use_dora=True), {"lora_A": "zero", "lora_B": "zero", "lora_magnitude_vector": "init"}),
        (lora(init_lora_weights="pissa"), {"lora_A": "init", "lora_B": "init"}),
        (lora(init_lora_weights="olora"), {"lora_A": "init", "lora_B": "init"}),
        (lora(init_lora_weights="orthogonal"), {"lora_A": "init", "lora_B": "init"}),
        (lora(target_modules=["embed_tokens"]), {"lora_embedding_A": "zero", "lora_embedding_B": "zero"}),
        (lora(trainable_token_indices=[1]), {"lora_A": "zero", "lora_B": "zero", "trainable_tokens_delta": "init"}),
        (lora(modules_to_save=["lm_head"]), {"lora_A": "zero", "lora_B": "zero", "modules_to_save": "init"}),
        (
            AdaLoraConfig(task_type="CAUSAL_LM", target_modules=TARGETS, total_step=9),
            {"lora_A": "init", "lora_B": "init", "lora_E": "init"},
        ),
        (IA3Config(task_type="CAUSAL_LM", target_modules=TARGETS, feedforward_modules=[]), {"ia3_l": "init"}),
        (PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3), {"embedding": "none"}),
        (
            PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, prompt_tuning_init="SAMPLE_VOCAB"),
            {"embedding": "init"},
        ),
        (PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3), {"embedding": "none"}),
    ],
    ids=[
        "LoRA", "gaussian", "DoRA", "PiSSA", "OLoRA", "orthogonal", "embedding", "tokens", "copied head", "AdaLoRA",
        "IA3", "random prompt", "prompt of words", "prefix",
    ],
)  # fmt: skip
def test_each_kind_has_its_anchor(config, expected):
    assert kinds(adapted(config)) == expected


def test_a_network_that_makes_prompts_has_no_anchor():
    config = PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    assert set(kinds(adapted(config)).values()) == {"none"}


def test_a_head_that_peft_adds_for_a_task_is_new():
    """`score` is new under SEQ_CLS; a head named in modules_to_save is a copy, unless `unanchored` names it."""
    model = adapted(lora(task_type="SEQ_CLS"), LlamaForSequenceClassification)
    assert anchors_of(DiGraP(param_groups(model, peft=True)))["score.modules_to_save"] == "none"
    copied = adapted(lora(modules_to_save=["lm_head"]))
    assert kinds(copied, unanchored=["base_model.model.lm_head"])["modules_to_save"] == "none"


def test_weights_and_biases_of_the_model_stay_near_their_values():
    """Trainable biases, and full fine-tuning beside adapters, whatever anchor the optimizer has for other groups."""
    model = adapted(lora())
    model.base_model.model.model.norm.weight.requires_grad_(True)
    found = anchors_of(DiGraP(param_groups(model, peft=True), anchor="zero"))
    assert found["model.norm"] == "init"
    body = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    biased = get_peft_model(body, LoraConfig(target_modules=["0"], bias="all"))
    found = anchors_of(DiGraP(param_groups(biased, peft=True)))
    assert {name: anchor for name, anchor in found.items() if "lora" not in name} == {
        "0.base_layer.bias": "init", "1.bias": "init",
    }  # fmt: skip


def test_adapters_without_a_peft_model_and_inside_another_module():
    injected = inject_adapter_in_model(lora(), llama())
    assert set(kinds(injected).values()) == {"zero"}
    assert set(kinds(nn.ModuleDict({"inner": adapted(lora())})).values()) == {"zero"}


def test_a_model_without_adapters_is_refused():
    with pytest.raises(ValueError, match="the model has no adapters; add them first, with get_peft_model"):
        param_groups(nn.Linear(2, 2), peft=True)


def test_no_decay_and_options_go_on_as_without_peft():
    groups = param_groups(adapted(lora(use_dora=True)), peft=True, no_decay="vectors", lr=0.5)
    assert [(group["anchor"], group.get("weight_decay")) for group in groups] == [
        ("init", 0.0), ("zero", None), ("zero", None),
    ]  # fmt: skip
    assert {group["lr"] for group in groups} == {0.5}


# --- what the rules do with them --------------------------------------------------------------------------------


def losses(model, optimizer, steps=40):
    tokens, values = torch.randint(1, 32, (4, 8), generator=torch.Generator().manual_seed(0)), []
    for _ in range(steps):
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(loss.item())
    return values


def norm(model, part):
    return float(sum(param.detach().abs().sum() for name, param in model.named_parameters() if part in name))


@pytest.mark.parametrize("info", EVERY)
def test_every_rule_trains_lora(info):
    """Also FTP, whose bound starts at 1e-8: A stays where it started, not at zero."""
    model = adapted(lora())
    start = norm(model, "lora_A")
    first, *_, last = losses(model, info.optim_cls(param_groups(model, peft=True), lr=1e-2))
    assert last < first - 0.3
    assert norm(model, "lora_A") > start / 2


def test_ftp_with_a_zero_anchor_on_the_random_factor_collapses_it():
    """The reason for the exception: after one step A is 1e-8 small, and with B = 0 neither factor has a gradient."""
    model = adapted(lora())
    optimizer = FTP(model.parameters(), lr=1e-2, anchor="zero")
    values = losses(model, optimizer, steps=1)
    assert norm(model, "lora_A") < 1e-6
    values = losses(model, optimizer, steps=19)
    good = adapted(lora())
    assert losses(good, FTP(param_groups(good, peft=True), lr=1e-2), steps=20)[-1] < values[-1] - 0.2
    assert kinds(adapted(lora()), FTP) == {"lora_A": "init", "lora_B": "zero"}
    assert kinds(adapted(lora(target_modules=["embed_tokens"])), FTP) == {
        "lora_embedding_A": "zero", "lora_embedding_B": "init",
    }  # fmt: skip


@pytest.mark.parametrize("info", EVERY)
@pytest.mark.parametrize(
    ("config", "part"),
    [
        (lora(use_dora=True), "magnitude"),
        (IA3Config(task_type="CAUSAL_LM", target_modules=TARGETS, feedforward_modules=[]), "ia3"),
    ],
    ids=["DoRA", "IA3"],
)
def test_scales_are_not_pulled_to_zero(info, config, part):
    model = adapted(config)
    start = norm(model, part)
    losses(model, info.optim_cls(param_groups(model, peft=True), lr=1e-2), steps=20)
    assert norm(model, part) > 0.7 * start


@pytest.mark.parametrize("cls", [DiGraP, SPD, FTP])
def test_given_anchors_hold_in_a_second_fit(cls):
    """A second optimizer over a fine-tuned model is anchored where the first was, if it is given the anchors."""
    model = adapted(lora(use_dora=True, modules_to_save=["lm_head"]))
    before = {name: param.detach().clone() for name, param in model.named_parameters() if param.requires_grad}
    first = cls(param_groups(model, peft=True), lr=1e-2)
    start = {name: first.state[p].get("anchor") for p, name in first.names().items()}
    losses(model, first, steps=5)
    careless = cls(param_groups(model, peft=True))
    head = "base_model.model.lm_head.modules_to_save.default.weight"
    assert not torch.equal(careless.state[model.get_parameter(head)]["anchor"], before[head])
    second = cls(param_groups(model, peft=True, anchors=before), lr=1e-2)
    found = {name: second.state[p].get("anchor") for p, name in second.names().items()}
    torch.testing.assert_close(found, start, rtol=0, atol=0)
    losses(model, second, steps=2)


@pytest.mark.parametrize("info", EVERY)
def test_one_list_of_groups_serves_several_optimizers(info):
    """No optimizer's options, and no consumed anchors, stay in the user's dicts."""
    model = nn.Linear(3, 2)
    anchors = {name: torch.zeros_like(param) for name, param in model.named_parameters()}
    groups = param_groups(model, anchors=anchors)
    first, second = info.optim_cls(groups, lr=0.5), info.optim_cls(groups, lr=0.25)
    assert [optimizer.param_groups[0]["lr"] for optimizer in (first, second)] == [0.5, 0.25]
    assert not second.state[model.weight]["anchor"].any()
    assert groups[0].keys() == {"params", "anchor"}


def test_given_anchors_must_be_complete():
    model = nn.ModuleDict({"body": nn.Linear(3, 3), "head": nn.Linear(3, 2)})
    anchors = {name: value for name, value in copy.deepcopy(model).named_parameters() if name.startswith("body")}
    with pytest.raises(ValueError, match=r"no value for 2 parameters, such as 'head.weight'; .* unanchored"):
        param_groups(model, anchors=anchors)
    groups = param_groups(model, anchors=anchors, unanchored=["head"])
    assert [len(group["anchor"]) if isinstance(group["anchor"], list) else group["anchor"] for group in groups] == [
        2, "none",
    ]  # fmt: skip
    lacking = adapted(lora())
    with pytest.raises(ValueError, match="0 tensors were given for 2 parameters"):
        FTP(param_groups(lacking, peft=True, anchors={}))
    DiGraP(param_groups(lacking, peft=True, anchors={}))  # zero anchors need no values
