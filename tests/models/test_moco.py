"""The MoCo-v3 checkpoint in timm's resnet50: every key accounted for, a fresh head, the predecessors' transforms."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision import transforms

from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.models.moco import MEAN, STD, moco_resnet50
from digrap.optim import param_groups

PROJECTOR = ["0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked", "3.weight",
             "4.running_mean", "4.running_var", "4.num_batches_tracked"]  # fmt: skip
PREDICTOR = ["0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked", "3.weight"]


def published(encoder):
    """The checkpoint's state_dict by its published names; what is dropped is small, and no number at that."""
    nothing = torch.full((1,), float("nan"))
    state = {f"module.base_encoder.{name}": value for name, value in encoder.items()}
    state |= {f"module.base_encoder.fc.{name}": nothing for name in PROJECTOR}
    state |= {f"module.momentum_encoder.{name}": nothing for name in [*encoder, *(f"fc.{p}" for p in PROJECTOR)]}
    return state | {f"module.predictor.{name}": nothing for name in PREDICTOR}


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(1)
    state = timm.create_model("resnet50", num_classes=0).state_dict()
    return {name: torch.rand_like(v) * 0.1 if v.is_floating_point() else v + 7 for name, v in state.items()}


@pytest.fixture(scope="module")
def checkpoint(encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("moco") / "r-50-1000ep.pth.tar"
    torch.save({"epoch": 1000, "arch": "resnet50", "state_dict": published(encoder)}, path)
    return path


def test_the_encoder_is_the_files_and_the_head_is_fresh(checkpoint, encoder):
    backbone = moco_resnet50(5, weights=str(checkpoint), classes=tuple("abcde"))
    found = backbone.module.state_dict()
    assert found.keys() - encoder.keys() == {"fc.weight", "fc.bias"}
    assert all(torch.equal(found[name], value) for name, value in encoder.items())
    assert found["fc.weight"].shape == (5, 2048) and found["fc.weight"].isfinite().all()
    assert backbone.head == ("fc",) and backbone.unanchored == ("fc.weight", "fc.bias") and not backbone.has_head
    assert backbone.provenance == {
        "source": "facebookresearch/moco-v3",
        "weights": "r-50-1000ep.pth.tar",
        "sha256": sha256(checkpoint),
    }
    free = next(group for group in param_groups(backbone.module, unanchored=backbone.unanchored) if "anchor" in group)
    assert [name for name, _ in free["params"]] == ["fc.weight", "fc.bias"]


def test_random_weights_need_no_file():
    backbone = moco_resnet50(3, pretrained=False, weights="/no/such/file", image_size=32)
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert backbone.module(backbone.batch_transform(images)).shape == (2, 3)
    assert backbone.provenance == {"source": "random weights"}


@pytest.mark.parametrize(
    ("more", "less", "words"),
    [
        ({}, ["base_encoder.layer4.2.bn3.bias"], r"\(missing keys: module.base_encoder.layer4.2.bn3.bias\)"),
        ({"base_encoder.head.0.weight": 0.0}, [], r"\(unknown keys: module.base_encoder.head.0.weight\)"),
        ({"queue": 0.0}, [], r"\(unknown keys: module.queue\)"),
        ({"base_encoder.conv1.weight": 0.0}, [], r"other shapes: .*conv1.weight \(\) for \(64, 3, 7, 7\)"),
        (
            {},
            [f"base_encoder.bn1.{kind}" for kind in ("weight", "bias", "running_mean", "running_var")],
            r", … \(4 in all\)\); the MoCo-v3",
        ),
    ],
)
def test_a_key_too_many_or_too_few_is_named(tmp_path, encoder, more, less, words):
    small = {name: torch.zeros((), dtype=value.dtype).expand(value.shape) for name, value in encoder.items()}
    state = published(small) | {f"module.{name}": torch.tensor(value) for name, value in more.items()}
    for name in less:
        del state[f"module.{name}"]
    torch.save({"state_dict": state}, tmp_path / "w.pth.tar")
    with pytest.raises(DigrapError, match=f"w.pth.tar: .*{words}"):
        moco_resnet50(3, weights=tmp_path / "w.pth.tar")


@pytest.mark.parametrize(
    ("content", "words"), [(b"no weights", "not a readable torch file"), (None, "it has no state_dict")]
)
def test_another_file_is_named(tmp_path, content, words):
    path = tmp_path / "w.pth.tar"
    torch.save([1, 2], path) if content is None else path.write_bytes(content)
    with pytest.raises(DigrapError, match=words):
        moco_resnet50(3, weights=path)


def test_a_missing_file_says_where_it_comes_from(tmp_path):
    words = "no such file; the MoCo-v3 project .* publishes r-50-1000ep.pth.tar.*backbone.pretrained=false"
    with pytest.raises(DigrapError, match=words):
        moco_resnet50(3, weights=tmp_path / "r-50-1000ep.pth.tar")
    with pytest.raises(DigrapError, match="weights=null: a file of weights is needed; the MoCo-v3 project"):
        moco_resnet50(3)
    with pytest.raises(DigrapError, match="image_size=0: give a whole number"):
        moco_resnet50(3, pretrained=False, image_size=0)


@pytest.mark.parametrize("size", [(300, 211), (211, 300)])
def test_evaluation_is_the_predecessors(size):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    backbone = moco_resnet50(3, pretrained=False)
    ours = backbone.eval_transform(picture)
    assert ours.dtype == torch.uint8 and ours.shape == (3, 224, 224)
    theirs = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )
    torch.testing.assert_close(backbone.batch_transform(ours[None])[0], theirs(picture))


def test_training_crops_depend_on_torchs_seed_alone():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 211, 3), dtype=np.uint8))
    train, crops = moco_resnet50(3, pretrained=False).train_transform, []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        crops.append(train(picture))
    assert crops[0].dtype == torch.uint8 and crops[0].shape == (3, 224, 224)
    assert torch.equal(crops[0], crops[1]) and not torch.equal(crops[0], crops[2])
