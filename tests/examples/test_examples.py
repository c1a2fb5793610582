"""Every example runs without network, leaves no file in its working folder, and gives the right result."""

import copy
import importlib.util
import math
import socket

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState

from digrap.core.paths import REPO
from digrap.optim import DiGraP, param_groups

pytestmark = pytest.mark.filterwarnings("ignore")  # from the frameworks, about workers and each other


def load(name):
    """examples/<name>.py as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", REPO / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reset_accelerate():
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An empty working folder that stays empty, no network, accelerate's singletons fresh."""
    calls = []

    def refuse(*args, **_):
        calls.append(args)
        raise OSError("no network in this test")

    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    reset_accelerate()
    yield
    reset_accelerate()
    assert not calls and not list(folder.iterdir())


def falls(losses):
    return all(math.isfinite(loss) for loss in losses) and losses[-1] < 0.8 * losses[0]


def in_range(report, names):
    return set(report) == set(names) and all(0 <= row["omega"] <= 1 for row in report.values())


def equal(left, right):
    """Assert that state dicts of modules or of optimizers are equal, tensors bit for bit."""
    if "param_groups" in left:
        assert left["param_groups"] == right["param_groups"]
        left, right = left["state"], right["state"]
    torch.testing.assert_close(left, right, rtol=0, atol=0)
    return True


BODY = ["body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias"]


def test_every_example_has_its_test():
    names = {file.stem for file in (REPO / "examples").glob("*.py")} - {"my_rule"}
    text = (REPO / "tests" / "examples" / "test_examples.py").read_text()
    assert names and all(f'load("{name}")' in text for name in names)
    for file in (REPO / "examples" / f"{name}.py" for name in names):
        assert f"python examples/{file.name}  " in file.read_text(), f"{file.name} lacks the command that runs it"


def test_plain_pytorch():
    result = load("plain_pytorch").main()
    assert falls([sum(part) for part in (result["losses"][:10], result["losses"][-10:])])
    assert in_range(result["report"], BODY)  # the head has no anchor, hence no ω


# --- Hugging Face -----------------------------------------------------------------------------------------------


@pytest.fixture
def hf():
    return load("hf_trainer_lora")


def test_hf_trainer_trains_adapters_and_head_only(hf):
    result = hf.main(disable_tqdm=True)
    assert falls(result["losses"])
    model, optimizer = result["trainer"].model, result["trainer"].optimizer.optimizer
    assert isinstance(optimizer, DiGraP)
    start, moved = hf.make_model().state_dict(), {}
    for name, value in model.state_dict().items():
        moved[name] = not torch.equal(value.cpu(), start[name])
    trained = {name for name in moved if ".lora_" in name or ".score.modules_to_save." in name}
    assert {name for name, change in moved.items() if change} == trained and len(trained) == 2 * 2 * 3 + 1
    assert in_range(result["report"], [name for name, p in model.named_parameters() if ".lora_" in name])
    assert max(row["omega"] for row in result["report"].values()) > 0
    assert not any("anchor" in state for state in optimizer.state.values())
    anchors = [(group["anchor"], len(group["params"])) for group in optimizer.param_groups]
    assert anchors == [("zero", 6), ("zero", 6), ("none", 1)]  # B, A, the head


def test_hf_trainer_resumes_bit_for_bit(hf, tmp_path):
    def run(folder, resume=None):
        trainer = hf.make_trainer(str(folder), max_steps=12, save_strategy="steps", save_steps=6, disable_tqdm=True)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run(tmp_path / "whole")
    resumed = run(tmp_path / "resumed", str(tmp_path / "whole" / "checkpoint-6"))
    assert equal(whole.model.state_dict(), resumed.model.state_dict())
    assert equal(whole.optimizer.state_dict(), resumed.optimizer.state_dict())
    assert {float(state["step"]) for state in resumed.optimizer.state.values()} == {12}


def test_hf_trainer_makes_the_optimizer(hf, tmp_path):
    """The documented way if there is no head: a class and its arguments."""
    from transformers import Trainer

    model = hf.make_model()
    model.base_model.model.score.requires_grad_(False)
    args = hf.make_trainer(str(tmp_path), max_steps=10, disable_tqdm=True).args
    chosen = (DiGraP, {"lr": 1e-2, "anchor": "zero"})
    trainer = Trainer(model=model, args=args, train_dataset=hf.make_data(), optimizer_cls_and_kwargs=chosen)
    trainer.train()
    optimizer = trainer.optimizer.optimizer
    assert isinstance(optimizer, DiGraP) and len(optimizer.omega_report()) == 12
    assert not any("anchor" in state for state in optimizer.state.values())


# --- Lightning --------------------------------------------------------------------------------------------------


def test_lightning():
    result = load("lightning_module").main()
    assert falls(result["losses"]) and in_range(result["report"], BODY)


def test_lightning_resumes_with_the_first_anchors(tmp_path):
    example = load("lightning_module")

    def fit(seed, epochs, checkpoint=None):
        torch.manual_seed(seed)
        module = example.Classifier()
        start = copy.deepcopy(module.state_dict())
        trainer = example.make_trainer(str(tmp_path), epochs)
        trainer.fit(module, example.make_data(), ckpt_path=checkpoint)
        return module, start, trainer

    half, start, trainer = fit(0, 3)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    saved = copy.deepcopy(trainer.optimizers[0].state_dict())
    whole, _, straight = fit(0, 6)
    resumed, _, again = fit(
        1, 6, tmp_path / "half.ckpt"
    )  # built from other weights: all values come from the checkpoint
    assert equal(whole.state_dict(), resumed.state_dict())
    assert equal(straight.optimizers[0].state_dict(), again.optimizers[0].state_dict())
    optimizer = again.optimizers[0]
    for param, name in optimizer.names().items():
        if "anchor" in optimizer.state[param]:
            assert torch.equal(optimizer.state[param]["anchor"], start[name])
            assert not torch.equal(half.state_dict()[name], start[name])
    assert saved["state"][0]["step"] == 12 and optimizer.state_dict()["state"][0]["step"] == 24


# --- timm -------------------------------------------------------------------------------------------------------


@pytest.fixture
def timm_example():
    example = load("timm_registry")
    yield example
    example.default_registry._optimizers.pop("digrap", None)


def test_timm(timm_example):
    results = timm_example.main()
    for result in results.values():
        optimizer = result["optimizer"]
        assert isinstance(optimizer, DiGraP) and falls(result["losses"])
        assert all(group["mu"] == 0.05 and tuple(group["betas"]) == (0.9, 0.98) for group in optimizer.param_groups)
        free = [group for group in optimizer.param_groups if group["anchor"] == "none"]
        assert sorted(param.shape for group in free for param in group["params"]) == [(4,), (4, 32)]  # the head
    flat = {(group["anchor"], group["weight_decay"]) for group in results["by_anchor"]["optimizer"].param_groups}
    assert flat == {("init", 0.05), ("init", 0.0), ("none", 0.05), ("none", 0.0)}
    assert "blocks.0.attn.qkv.weight" in results["by_anchor"]["report"]


def test_timm_scales_learning_rates_by_layer(timm_example):
    timm_example.register()
    model = timm_example.make_model()
    optimizer = timm_example.create_optimizer_v2(model, opt="digrap", lr=2e-3, param_group_fn=timm_example.by_layer)
    timm_example.CosineLRScheduler(optimizer, t_initial=10)
    rates = {}
    for group in optimizer.param_groups:
        rates |= {id(param): group["lr"] for param in group["params"]}
    # the last block and the norm behind it are one layer
    parts = [model.patch_embed, *model.blocks, model.norm, model.head]
    found = [{rates[id(param)] for param in part.parameters()} for part in parts]
    assert all(len(values) == 1 for values in found)
    assert [values.pop() for values in found] == pytest.approx([2e-3 * 0.75**power for power in (4, 3, 2, 1, 1, 0)])
    assert len(rates) == len(list(model.parameters()))


@pytest.mark.parametrize(("options", "groups"), [({}, 2), ({"layer_decay": 0.75}, 10)])
def test_timms_own_groups(timm_example, options, groups):
    timm_example.register()
    optimizer = timm_example.create_optimizer_v2(
        timm_example.make_model(), opt="digrap", lr=1e-3, weight_decay=0.1, **options
    )
    assert type(optimizer) is DiGraP and len(optimizer.param_groups) == groups
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.1}
    assert {group["anchor"] for group in optimizer.param_groups} == {"init"}


# --- torch.compile ----------------------------------------------------------------------------------------------


def test_compiled_equals_eager():
    example = load("compiled_model")
    result = example.main()
    torch._dynamo.reset()
    assert falls(result["losses"]) and result["same_tensors"]
    assert in_range(result["report"], ["body.0.weight", "body.0.bias"])
    eager = example.make_model()
    straight = example.train(eager, eager, len(result["losses"]))
    torch.testing.assert_close(result["losses"], straight["losses"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result["model"].state_dict(), straight["model"].state_dict(), rtol=1e-3, atol=1e-4)
    assert set(result["optimizer"].state) == set(result["compiled"].parameters())
    with pytest.raises(ValueError, match="_orig_mod"):  # as the example's docstring says
        param_groups(result["compiled"], unanchored=["head"])


# --- accelerate -------------------------------------------------------------------------------------------------


def test_accelerate_skips_the_step_with_bad_gradients():
    result = load("accelerate_scaler").main(bad_step=20)
    losses = result["losses"]
    assert result["skipped"] == [20] and not math.isfinite(losses.pop(20))
    assert falls(losses) and in_range(
        result["report"], [f"body.{i}.{part}" for i in (0, 1, 3) for part in ("weight", "bias")]
    )
    assert {float(state["step"]) for state in result["optimizer"].state.values()} == {39}


@pytest.mark.parametrize(("precision", "tolerance"), [("no", 1e-6), ("fp16", 1e-2)])
def test_two_half_batches_equal_one(precision, tolerance):
    example, results = load("accelerate_scaler"), []
    for accumulation in (1, 2):
        reset_accelerate()
        results.append(example.main(steps=10, accumulation=accumulation, bad_step=-1, precision=precision))
    whole, halves = results
    assert whole["skipped"] == halves["skipped"] == []
    torch.testing.assert_close(whole["losses"], halves["losses"], rtol=tolerance, atol=tolerance)
    moved, apart = (
        torch.cat([(a - b).flatten() for a, b in zip(one.parameters(), other.parameters(), strict=True)]).norm()
        for one, other in ((whole["model"].cpu(), example.make_model()), (whole["model"], halves["model"].cpu()))
    )
    assert apart < 10 * tolerance * moved
    assert {float(state["step"]) for state in halves["optimizer"].state.values()} == {10}


def test_a_skipped_step_changes_nothing():
    example = load("accelerate_scaler")
    accelerator, module = example.make_accelerator(accumulation=2), example.make_model()
    model, optimizer = accelerator.prepare(module, DiGraP(param_groups(module, unanchored=["head"]), lr=3e-3))
    inputs, labels = torch.randn(2, 8, 16), torch.randint(4, (2, 8))

    def update(scale):
        loss = example.update(accelerator, model, optimizer, list(zip(inputs * scale, labels, strict=True)))
        return loss, copy.deepcopy((module.state_dict(), optimizer.state_dict()))

    for _ in range(3):
        _, before = update(1.0)
    scale = accelerator.scaler.get_scale()
    loss, after = update(float("inf"))
    assert not math.isfinite(loss) and optimizer.step_was_skipped and accelerator.optimizer_step_was_skipped
    assert accelerator.scaler.get_scale() == scale / 2
    assert all(equal(a, b) for a, b in zip(before, after, strict=True))
    _, later = update(1.0)
    assert not optimizer.step_was_skipped
    assert float(later[1]["state"][0]["step"]) == 4 and not torch.equal(
        before[0]["head.weight"], later[0]["head.weight"]
    )
