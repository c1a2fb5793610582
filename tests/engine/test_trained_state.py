"""What is saved of a model: what trains and the buffers that change, on named pre-trained weights."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from digrap.core.errors import DigrapError
from digrap.engine import checkpoint
from digrap.engine import run as engine
from digrap.engine.rescore import trained_backbone
from digrap.engine.trained_state import TrainedState, base_of, overlay, read_weights
from digrap.models.backbone import Backbone
from digrap.models.mini_resnet import WEIGHTS
from tests.engine.runs import results, weights


def model():
    """19 of 20 parts frozen: 950 × 100 of 1000 × 100 weights."""
    module = nn.Sequential(nn.Linear(100, 950, bias=False), nn.BatchNorm1d(950, affine=False), nn.Linear(950, 5))
    module[0].requires_grad_(False)
    return module


def test_a_checkpoint_of_a_frozen_model_is_small(tmp_path):
    """With 95 % of the parameters frozen it is less than a tenth of the model, plus the optimizer's state."""
    torch.manual_seed(0)
    module = model()
    state = TrainedState(module)
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad])
    module(torch.randn(8, 100)).sum().backward()
    optimizer.step()
    assert state.names() == [
        "1.running_mean", "1.running_var", "1.num_batches_tracked", "2.weight", "2.bias",
    ]  # fmt: skip
    parts = {"module": state.get(), "optimizer": optimizer.state_dict()}
    saved = checkpoint.save(tmp_path, 1, parts, base={"sha256": "0"}) / "state.pt"
    whole, moments = (
        sum(value.numel() * value.element_size() for value in values)
        for values in (module.state_dict().values(), (v for s in optimizer.state.values() for v in s.values()))
    )
    frozen = module[0].weight.numel() * module[0].weight.element_size()
    assert frozen / whole > 0.9 and saved.stat().st_size < 0.1 * whole + moments + 4096


def test_buffers_go_back_to_their_pretrained_values():
    module = model()
    before = {name: value.clone() for name, value in module.named_buffers()}
    state = TrainedState(module)
    module(torch.randn(8, 100))
    assert not torch.equal(module[1].running_mean, before["1.running_mean"])
    state.reset_buffers()
    assert all(torch.equal(value, before[name]) for name, value in module.named_buffers())


def test_buffers_that_do_not_change_are_not_saved():
    module = model().eval()
    state = TrainedState(module)
    module(torch.randn(8, 100))
    assert state.names() == ["2.weight", "2.bias"]
    assert TrainedState(module, loaded=["0.weight"]).names() == ["0.weight", "2.weight", "2.bias"]


def test_linear_probing_saves_the_head_alone(small, tmp_path):
    cfg = small("optim=lp", "trainer.epochs=1")
    engine.run(cfg, tmp_path)
    file = tmp_path / results(tmp_path)["weights"]
    with safe_open(file, "pt") as opened:
        assert set(opened.keys()) == {"fc.weight", "fc.bias"} and "base" in opened.metadata()
    before, whole = load_file(WEIGHTS), trained_backbone(cfg, tuple("a" * 45), file).module.state_dict()
    for name, value in whole.items():
        assert torch.equal(value, weights(tmp_path).get(name, before[name]))


def test_a_run_that_starts_from_another_saves_what_that_one_changed(small, tmp_path):
    """The file stands on the pre-trained weights alone: LP after vanilla keeps vanilla's layers too."""
    engine.run(small("optim=lp", "optim.start=vanilla", "trainer.epochs=1"), tmp_path / "lp")
    tuned, probed = weights(tmp_path / results(tmp_path / "lp")["start"]["hash"]), weights(tmp_path / "lp")
    assert probed.keys() == tuned.keys() == load_file(WEIGHTS).keys()
    assert {name for name in probed if not torch.equal(probed[name], tuned[name])} == {"fc.weight", "fc.bias"}


def test_other_pretrained_weights_are_refused(small, tmp_path):
    """The same command with another backbone file: neither a resumed nor a tested run may stand on it."""
    cfg = small("optim=lp", "trainer.epochs=1")
    engine.run(cfg, tmp_path / "run")
    other = {name: value + 1 for name, value in load_file(WEIGHTS).items()}
    save_file(other, tmp_path / "other.safetensors")
    changed = small("optim=lp", "trainer.epochs=1", f"backbone.weights={tmp_path}/other.safetensors")
    with pytest.raises(DigrapError, match=r"on top of .*, but the backbone is now .*other.safetensors"):
        trained_backbone(changed, tuple("a" * 45), tmp_path / "run" / results(tmp_path / "run")["weights"])


def test_a_whole_model_stands_on_nothing(tmp_path):
    module = model()
    save_file(module.state_dict(), tmp_path / "whole.safetensors")
    assert read_weights(tmp_path / "whole.safetensors", {"sha256": "1"}, module).keys() == module.state_dict().keys()
    save_file({"2.bias": module[2].bias.detach()}, tmp_path / "part.safetensors")
    with pytest.raises(
        DigrapError, match="does not say which pre-trained weights it belongs to, and 5 tensors are missing"
    ):
        read_weights(tmp_path / "part.safetensors", {"sha256": "1"}, module)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-10])
    with pytest.raises(DigrapError, match="cut.safetensors: the weights cannot be read"):
        read_weights(tmp_path / "cut.safetensors", {"sha256": "1"}, module)


def test_tensors_that_do_not_fit_are_named():
    module = model()
    with pytest.raises(DigrapError, match=r"f: 1 tensors are not in the model \(3.bias\)"):
        overlay(module, {"3.bias": torch.zeros(5)}, "f")
    with pytest.raises(DigrapError, match=r"f: 2.bias has shape \(6,\), the model's has \(5,\)"):
        overlay(module, {"2.bias": torch.zeros(6)}, "f")


def test_random_weights_are_named_by_their_content():
    torch.manual_seed(0)
    first, again = (base_of(Backbone(module, None)) for module in (model(), model()))
    assert first["source"] == "random weights" and first["sha256"] != again["sha256"]
    torch.manual_seed(0)
    assert base_of(Backbone(model(), None)) == first
    known = {"source": "hub", "weights": "a.bin", "revision": "main", "sha256": "12", "model": "m"}
    assert base_of(Backbone(model(), None, provenance=known)) == {key: known[key] for key in known if key != "model"}
