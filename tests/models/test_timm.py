"""timm's classifiers: weights from files, a fresh head, timm's own transforms, and errors that name what fixes them."""

import time

import huggingface_hub.constants
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from torch import nn

from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.models import timm_model
from digrap.models.timm_model import timm_backbone
from digrap.optim import param_groups


@pytest.fixture
def picture():
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((211, 173), Image.Resampling.BICUBIC)


def saved(path, model, num_classes=1000):
    """A file of random weights (norms and their statistics too) and the module they are from."""
    torch.manual_seed(1)
    module = timm.create_model(model, num_classes=num_classes).eval()
    for value in module.state_dict().values():
        if value.dtype.is_floating_point:
            value.copy_(torch.rand_like(value) * 0.2 + 0.01)
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(module.state_dict(), path)
    else:
        torch.save({"state_dict": module.state_dict()}, path)
    return module


@pytest.mark.parametrize(
    ("model", "head", "size"),
    [
        ("test_resnet", ("fc",), 33),
        ("resnet18", ("fc",), 32),
        ("test_vit", ("head",), 32),
        ("test_convnext", ("head.fc",), 64),
        ("levit_128s", ("head.linear", "head_dist.linear"), None),
    ],
)
def test_the_head_is_fresh_and_has_no_anchor(model, head, size):
    backbone = timm_backbone(3, model, pretrained=False, image_size=size)
    assert backbone.head == head and not backbone.has_head and backbone.module.training
    assert backbone.unanchored == tuple(f"{part}.{kind}" for part in head for kind in ("weight", "bias"))
    free = next(group for group in param_groups(backbone.module, unanchored=backbone.unanchored) if "anchor" in group)
    assert {param.shape[0] for _, param in free["params"]} == {3}
    if size:
        logits = backbone.module(backbone.batch_transform(torch.zeros(2, 3, size, size, dtype=torch.uint8)))
        assert logits.shape == (2, 3)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_convnext"])
@pytest.mark.parametrize(("file", "classes"), [("w.safetensors", 1000), ("w.pth", 5)])
def test_weights_from_a_file(tmp_path, model, file, classes):
    """The features are the file's, whatever its number of classes; the head is not, even where the numbers agree."""
    module = saved(tmp_path / file, model, classes)
    backbone = timm_backbone(classes, model, weights=tmp_path / file)
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        found, expected = (net.eval().forward_features(images) for net in (backbone.module, module))
    assert torch.equal(found, expected) and expected.std() > 0
    old, new = (net.get_parameter(backbone.unanchored[0]) for net in (module, backbone.module))
    assert old.shape == new.shape and not torch.equal(old, new)
    assert nn.Module.load_state_dict.__name__ == "load_state_dict"  # the listener is gone


def test_a_vits_positions_are_resampled_to_the_image_size(tmp_path):
    saved(tmp_path / "w.safetensors", "test_vit")
    backbone = timm_backbone(3, "test_vit", weights=tmp_path / "w.safetensors", image_size=64)
    assert backbone.module.pos_embed.shape[1] == 17  # 4 × 4 patches of 16 and a class token
    assert backbone.module(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_convnext", "tf_mobilenetv3_small_minimal_100"])
@pytest.mark.parametrize("size", [None, 96])
def test_evaluation_sees_what_timm_sees(picture, model, size):
    """timm's own transform to 2/255, from pictures lying and standing, and twice the same."""
    backbone = timm_backbone(3, model, pretrained=False, image_size=size)
    config = timm.data.resolve_model_data_config(backbone.module, {"img_size": size} if size else {})
    theirs = timm.data.create_transform(**config)
    for image in (picture, picture.transpose(Image.Transpose.ROTATE_90)):
        ours = backbone.eval_transform(image)
        assert ours.dtype == torch.uint8 and ours.shape == config["input_size"]
        assert torch.equal(ours, backbone.eval_transform(image))
        error = (backbone.batch_transform(ours[None])[0] - theirs(image)).abs()
        assert error.max() <= 2 / 255 / min(config["std"])


def test_training_crops_depend_on_torchs_seed_alone(picture):
    backbone = timm_backbone(3, "test_vit", pretrained=False, image_size=64)
    crops = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        crops.append(backbone.train_transform(picture))
    assert crops[0].dtype == torch.uint8 and crops[0].shape == (3, 64, 64)
    assert torch.equal(crops[0], crops[1]) and not torch.equal(crops[0], crops[2])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "resnt50"}, "timm has no such model; nearest: .*resnet50"),
        ({"model": "timm/resnet50"}, "timm has no such model; nearest: .*resnet50"),
        ({"model": "resnet18.a1_in2k"}, r"no such weights; nearest: resnet18\.a1_in1k"),
        ({"model": "botnet50ts_256"}, "no pre-trained weights for it; give backbone.weights=.*pretrained=false"),
        ({"model": "qwen3_vit_88m_enc", "pretrained": False, "num_classes": 0}, "no classification head"),
        ({"model": "test_vit", "pretrained": False, "image_size": 8}, "image_size=8.*null for the model's own"),
        ({"model": "test_vit", "pretrained": False, "image_size": "big"}, "image_size=big: give a whole number"),
        ({"model": "test_vit", "weights": "/no/such.pth"}, "backbone.weights=/no/such.pth: there is no such file"),
    ],
)
def test_what_is_wrong_is_named(options, words):
    with pytest.raises(DigrapError, match=words):
        timm_backbone(**{"num_classes": 3} | options)


@pytest.mark.parametrize("file", ["w.safetensors", "w.pth"])
def test_an_unreadable_file_is_named(tmp_path, file):
    (tmp_path / file).write_bytes(b"no weights")
    with pytest.raises(DigrapError, match=f"{file}: not a readable safetensors or torch file"):
        timm_backbone(3, "test_resnet", weights=tmp_path / file)


def test_weights_of_another_model_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    saved(path, "test_vit")
    with pytest.raises(DigrapError, match=r"missing keys: conv1.*now test_resnet"):
        timm_backbone(3, "test_resnet", weights=path)
    saved(path, "test_resnet")
    with pytest.raises(DigrapError, match="do not fit the model .*size mismatch"):
        timm_backbone(3, "resnet18d", weights=path)


def test_a_block_too_many_is_another_model(tmp_path):
    """All tensors of resnet18 are in it, in the right shapes, and mean something else."""
    saved(tmp_path / "w.safetensors", "resnet34")
    with pytest.raises(DigrapError, match=r"unknown keys: layer1.2.*in all.*made with \(now resnet18\)"):
        timm_backbone(3, "resnet18", weights=tmp_path / "w.safetensors")


def test_parts_that_the_model_lacks_are_left_out_and_named(tmp_path, caplog):
    path = tmp_path / "w.safetensors"
    module = saved(path, "test_resnet")
    state = module.state_dict() | {"projector.weight": torch.ones(2), "fc.0.weight": torch.ones(2)}
    safetensors.torch.save_file(state, path)
    backbone = timm_backbone(3, "test_resnet", weights=path)
    assert torch.equal(backbone.module.conv1[0].weight, module.conv1[0].weight)
    for text in ("not loaded: its head (1 keys, fc.0.weight", "the model does not have (1 keys, projector.weight"):
        assert text in caplog.text
    assert backbone.provenance == {
        "source": "file",
        "model": "test_resnet",
        "weights": "w.safetensors",
        "sha256": sha256(path),
    }


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_weights_by_name_need_no_network_and_are_recorded_with_their_commit(tmp_path, monkeypatch, file, hub, caplog):
    """From the hub's cache as it lies on disk: refs/main names the commit, snapshots/<commit> holds the files."""
    repository, commit = tmp_path / "models--timm--test_resnet.r160_in1k", "ab12" * 10
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    path = repository / "snapshots" / commit / file
    module = timm.create_model("test_resnet")
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(module.state_dict(), path)
    else:
        torch.save(module.state_dict(), path)
        missing = repository / ".no_exist" / commit / "model.safetensors"  # the hub's note that there is none
        missing.parent.mkdir(parents=True)
        missing.touch()
    hub()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    backbone = timm_backbone(3, "test_resnet")
    assert "Retrying" not in caplog.text and not huggingface_hub.constants.HF_HUB_OFFLINE
    assert torch.equal(backbone.module.conv1[0].weight, module.conv1[0].weight)
    assert backbone.provenance == {
        "source": "timm",
        "model": "test_resnet.r160_in1k",
        "weights": file,
        "sha256": sha256(path),
        "revision": commit,
    }
    path.rename(path.with_suffix(".gone"))
    assert timm_model._cached(backbone.module.pretrained_cfg) is None
    assert timm_backbone(3, "test_resnet", pretrained=False).provenance == {"source": "random weights"}


def test_without_network_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DigrapError, match="could not be fetched .*backbone.weights=<file> or backbone.pretrained"):
        timm_backbone(3, "resnet18")


def test_without_network_one_request_is_made_and_nothing_is_tried_again(cache, hub, caplog):
    hub()
    started = time.monotonic()
    for model in ("resnet18", "hf-hub:timm/resnet18.a1_in1k"):
        with pytest.raises(DigrapError) as caught:
            timm_backbone(3, model)
        text = str(caught.value)
        assert f"backbone.model={model}: its weights are not in the cache ({cache}) and could not be fetched" in text
        assert "give backbone.weights=<file> or backbone.pretrained=false" in text
    assert time.monotonic() - started < 20 and "Retrying" not in caplog.text


def test_the_hubs_answer_is_told(cache, hub):
    hub(404, "EntryNotFound")
    with pytest.raises(DigrapError, match="could not be fetched .*404"):
        timm_backbone(3, "resnet18")
