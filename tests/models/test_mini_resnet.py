"""The miniature's foundation model: the shipped weights, where they start, and that damage is named."""

import pytest
import torch
from omegaconf import OmegaConf

from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.data.mini.draw import DOMAINS, draw
from digrap.data.mini.glyphs import load_glyphs
from digrap.models import mini_resnet as resnet
from tools import pretrain_mini


def test_zero_shot_starts_where_it_should():
    """ID near 72 %, every OOD domain between 25 and 92 %: room to gain and to lose."""
    model, labels = resnet.mini_resnet().module.eval(), torch.arange(675) % 45
    accuracy = {}
    for domain in DOMAINS:
        images = torch.cat(list(draw(load_glyphs(), labels, domain, (8, 0, 0), 32)))
        with torch.inference_mode():
            predicted = model(resnet.image_transform()(images)).argmax(1)
        accuracy[domain] = (predicted == labels).float().mean().item() * 100
    assert 66 < accuracy["real"] < 77
    assert all(25 < accuracy[domain] < 94 for domain in DOMAINS)  # 92, and two standard errors of 675 pictures


def test_the_module_is_timms_resnet_of_the_stated_size():
    module = resnet.build_module(285)
    assert type(module).__module__ == "timm.models.resnet" and type(module).__name__ == "ResNet"
    assert 0.39e6 < sum(param.numel() for param in module.parameters()) < 0.41e6
    assert not list(module.buffers())  # no running statistics


def test_the_backbone_has_its_head_and_everything_is_anchored():
    backbone = resnet.mini_resnet()
    assert backbone.has_head and backbone.unanchored == ()
    assert backbone.module(torch.zeros(2, 3, 32, 32)).shape == (2, 45)
    assert backbone.module(torch.zeros(2, 3, 48, 48)).shape == (2, 45)
    assert not resnet.mini_resnet(pretrained=False).has_head


def test_the_provenance_names_the_file(tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(resnet.WEIGHTS.read_bytes())
    shipped = {"weights": "mini_resnet.safetensors", "sha256": sha256(resnet.WEIGHTS)}
    assert resnet.mini_resnet().provenance == {"source": "data/mini/mini_resnet.safetensors", **shipped}
    assert resnet.mini_resnet(weights=copy).provenance == shipped | {"source": "file", "weights": copy.name}
    assert resnet.mini_resnet(pretrained=False).provenance == {"source": "random weights"}


def test_the_transform_maps_bytes_to_one():
    ends = torch.tensor([0, 255], dtype=torch.uint8).expand(3, 1, 2)
    assert resnet.image_transform()(ends)[0, 0].tolist() == [-1.0, 1.0]


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    path = tmp_path / resnet.WEIGHTS.name
    data = bytearray(resnet.WEIGHTS.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    monkeypatch.setattr(resnet, "WEIGHTS", path)
    with pytest.raises(DigrapError, match="damaged or of another version.*git checkout"):
        resnet.mini_resnet(weights=path)
    path.unlink()
    with pytest.raises(DigrapError, match=f"backbone.weights={path}: there is no such file; .git checkout"):
        resnet.mini_resnet(weights=path)


def test_other_weights_must_be_readable_and_fit(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"no weights")
    with pytest.raises(DigrapError, match="not a readable safetensors file"):
        resnet.mini_resnet(weights=path)
    path.write_bytes(resnet.WEIGHTS.read_bytes())
    with pytest.raises(DigrapError, match=r"do not fit the model \(other shapes: fc.bias .*45 classes"):
        resnet.mini_resnet(num_classes=10, weights=path)
    with pytest.raises(DigrapError, match="45 classes, but these data have 10; .*backbone.pretrained=false"):
        resnet.mini_resnet(num_classes=10)


def test_folding_the_norm_into_the_head_keeps_the_logits():
    torch.manual_seed(0)
    model = resnet.build_module(285)
    norm = torch.nn.BatchNorm1d(model.num_features)
    for value in (norm.weight.data, norm.bias.data, norm.running_mean):
        value.normal_()
    norm.running_var.uniform_(0.1, 2)
    model.global_pool = torch.nn.Sequential(model.global_pool, norm)
    inputs = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        before = model.eval()(inputs)
        after = pretrain_mini.fold_norm(model)(inputs)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    assert set(model.state_dict()) == set(resnet.build_module(285).state_dict())


def test_pre_training_sees_few_symbols_and_no_quickdraw():
    labels = pretrain_mini.pretraining_labels(1500, 9000)
    counts = labels.bincount(minlength=285)
    assert len(labels) == 10500 and counts[:45].sum() == 1500 and counts.min() >= 33
    domains = [domain for domain in DOMAINS if domain != pretrain_mini.HELD_OUT]
    assert len(domains) == 5 and "quickdraw" not in domains
    options = OmegaConf.create(pretrain_mini.DEFAULTS)
    plan = pretrain_mini.lesson_plan(options, 10, domains)
    assert [len(epoch) for epoch in plan] == [20, 20] + [50] * 6
    assert plan[0].tolist() == [*range(10, 30)]  # clipart and sketch, as DOMAINS orders them
