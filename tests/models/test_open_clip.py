"""CLIP with its zero-shot head: open_clip's own logits and transforms, the right GELU, one file however it is named."""

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from open_clip import pretrained
from open_clip.transformer import QuickGELU
from PIL import Image
from torch import nn

from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.data.domainnet.lists import spoken
from digrap.models.open_clip_model import open_clip_backbone
from digrap.optim import param_groups
from digrap.runs.results_shape import REQUIRED
from tests.models.tiny_clip import make_known

CLASSES = ("aircraft_carrier", "teddy-bear", "t-shirt", "The_Eiffel_Tower")
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Two models of open_clip's for the test, with both kinds of GELU, and weights called `openai` in a file."""
    make_known(TINY, tmp_path / "configs", monkeypatch)
    torch.manual_seed(1)
    model = open_clip.create_model("tiny-quickgelu")
    nn.init.constant_(model.logit_scale, np.log(100))
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(value, std=0.1)
    path = tmp_path / "tiny.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    tag = {"openai": {"file": str(path), "quick_gelu": True}}
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", tag)
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny-quickgelu", tag)
    return path


def backbone(**options):
    return open_clip_backbone(**{"num_classes": 4, "classes": CLASSES, "model": "tiny-quickgelu"} | options)


def logits(built, images):
    with torch.no_grad():
        return built.module.eval()(images)


def test_logits_are_open_clips_zero_shot_logits(tiny):
    """Against open_clip's evaluation of images by prompts, in its own order of things, and by CLIP's own forward."""
    model = open_clip.create_model("tiny-quickgelu", pretrained=str(tiny)).eval()
    texts = ["aircraft carrier", "teddy bear", "t-shirt", "The Eiffel Tower"]
    tokenizer, templates = open_clip.get_tokenizer("tiny-quickgelu"), open_clip.OPENAI_IMAGENET_TEMPLATES
    classifier = open_clip.build_zero_shot_classifier(model, tokenizer, texts, templates)
    images = torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        expected = model.logit_scale.exp() * model.encode_image(images, normalize=True) @ classifier
    found = logits(backbone(), images)
    assert expected.std(dim=1).min() > 0.1
    torch.testing.assert_close(found / 100, expected / 100, rtol=0, atol=1e-6)  # cosines
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())


def test_the_head_is_anchored_and_the_text_tower_is_gone(tiny, tmp_path):
    built = backbone()
    names = [name for name, _ in built.module.named_parameters()]
    assert [name for name in names if not name.startswith("visual.")] == ["head.weight"]
    assert built.head == ("head",) and built.unanchored == () and built.has_head and built.module.training
    assert all(param.requires_grad and param.is_leaf for param in built.module.parameters())
    assert not any("anchor" in group for group in param_groups(built.module, unanchored=built.unanchored))
    assert built.module.head.weight.norm(dim=1).sub(100).abs().max() < 1e-3
    safetensors.torch.save_file(built.module.state_dict(), tmp_path / "w.safetensors")  # contiguous, nothing shared


def test_name_and_path_give_the_same_logits(tiny, tmp_path):
    images = torch.rand(3, 3, 32, 32)
    moved = tmp_path / "elsewhere.safetensors"
    moved.write_bytes(tiny.read_bytes())
    by_name, by_path = backbone(), backbone(weights=str(moved))
    assert torch.equal(logits(by_name, images), logits(by_path, images))
    assert by_name.provenance["sha256"] == by_path.provenance["sha256"] == sha256(tiny)
    names = {"model": "tiny-quickgelu", "tag": "openai", "sha256": sha256(tiny)}
    assert by_name.provenance == names | {"source": "open_clip", "weights": tiny.name}
    assert by_path.provenance == names | {"source": "file", "weights": moved.name}


@pytest.mark.filterwarnings("ignore")  # torch says that TorchScript is deprecated
def test_other_files_give_the_same_logits(tiny, tmp_path):
    """torch's own format, and a TorchScript archive as OpenAI's .pt is: half precision, with three numbers more."""
    images = torch.rand(3, 3, 32, 32)
    halves = {name: value.half() for name, value in safetensors.torch.load_file(tiny).items()}
    torch.save({"state_dict": halves}, tmp_path / "w.pt")
    numbers = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.jit.script(holder(halves | numbers)).save(tmp_path / "jit.pt")
    found = [logits(backbone(weights=tmp_path / name), images) for name in ("w.pt", "jit.pt")]
    assert torch.equal(*found) and found[0].dtype == torch.float32
    torch.testing.assert_close(found[0], logits(backbone(), images), rtol=0, atol=0.3)  # halves; the logits go to 100


def holder(state):
    """A module that has these tensors and does nothing."""
    module = nn.Module()
    for name, value in state.items():
        *parents, last = name.split(".")
        at = module
        for parent in parents:
            if not hasattr(at, parent):
                at.add_module(parent, nn.Module())
            at = getattr(at, parent)
        at.register_buffer(last, value)
    return module


def test_openais_weights_want_quick_gelu(tiny):
    blocks = backbone().module.visual.transformer.resblocks
    assert all(isinstance(block.mlp.gelu, QuickGELU) for block in blocks)
    for weights in (None, tiny):
        with pytest.raises(DigrapError, match="has GELU, .*trained with QuickGELU; use backbone.model=tiny-quickgelu"):
            backbone(model="tiny", weights=weights)


def test_a_file_of_its_own_weights_needs_no_tag_of_open_clip(tiny, tmp_path, monkeypatch, caplog):
    """What such a file was trained with is not known: it is taken as open_clip takes a file, and that is said."""
    grey = {"file": str(tiny), "quick_gelu": True, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny-quickgelu", {"openai": grey})
    known, own = backbone(weights=tiny), backbone(pretrained="mine", weights=tiny)
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(logits(known, images / 255), logits(own, images / 255))
    _, _, evaluate = open_clip.create_model_and_transforms("tiny-quickgelu", pretrained=str(tiny))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 57, 3), dtype=np.uint8))
    found = own.batch_transform(own.eval_transform(picture)[None])[0]
    torch.testing.assert_close(found, evaluate(picture))
    assert not torch.equal(found, known.batch_transform(known.eval_transform(picture)[None])[0])
    assert "tag" not in own.provenance and own.provenance["source"] == "file" and known.provenance["tag"] == "openai"
    assert "assumed" not in REQUIRED  # beside which it stands in results.json
    assert known.remarks == {} and own.remarks == {"assumed": caplog.messages[-1]}
    assert own.remarks["assumed"].startswith(f"{tiny.name}: assumed to be trained with QuickGELU")
    assert "mean (0.481" in own.remarks["assumed"] and "bicubic" in own.remarks["assumed"]


def test_a_known_tag_and_a_file_of_other_weights(tiny):
    """The tag's activation is that of its own weights; the way out that the message names is one."""
    with pytest.raises(DigrapError, match="where the file has other weights than these, backbone.pretrained=own$"):
        backbone(model="tiny", weights=tiny)
    with pytest.raises(DigrapError, match="use backbone.model=tiny-quickgelu$"):
        backbone(model="tiny")
    built = backbone(model="tiny", pretrained="own", weights=tiny)
    assert not any(isinstance(layer, QuickGELU) for layer in built.module.modules())
    assert "trained with GELU" in built.remarks["assumed"]


def test_the_real_model_with_random_weights():
    """ViT-B/16 as the config names it: quick GELU, twelve layers, logits of the classes."""
    built = open_clip_backbone(345, pretrained=False, image_size=32)
    kinds = {type(layer) for name, layer in built.module.named_modules() if name.endswith(".gelu")}
    assert kinds == {QuickGELU} and len(built.module.visual.transformer.resblocks) == 12
    assert open_clip.get_pretrained_cfg("ViT-B-16-quickgelu", "openai")["quick_gelu"]
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert logits(built, built.batch_transform(images)).shape == (2, 345)
    assert not built.has_head and built.head == ("head",) and built.provenance == {"source": "random weights"}
    with pytest.raises(DigrapError, match="use backbone.model=ViT-B-16-quickgelu"):
        open_clip_backbone(4, CLASSES, model="ViT-B-16")


@pytest.mark.parametrize("size", [(40, 57), (57, 40), (20, 32)])
def test_transforms_are_open_clips(tiny, size):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    _, train, evaluate = open_clip.create_model_and_transforms("tiny-quickgelu", pretrained=str(tiny))
    built = backbone()
    ours = built.eval_transform(picture)
    assert ours.dtype == torch.uint8 and ours.shape == (3, 32, 32)
    torch.testing.assert_close(built.batch_transform(ours[None])[0], evaluate(picture))
    for seed in range(3):
        torch.manual_seed(seed)
        ours = built.train_transform(picture)
        torch.manual_seed(seed)
        assert ours.dtype == torch.uint8
        torch.testing.assert_close(built.batch_transform(ours[None])[0], train(picture))


def test_image_size_resamples_the_positions(tiny):
    built = backbone(image_size=64)
    assert built.module.visual.positional_embedding.shape[0] == 17
    assert built.eval_transform(Image.new("RGB", (90, 70))).shape == (3, 64, 64)
    assert logits(built, torch.zeros(1, 3, 64, 64)).shape == (1, 4)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("aircraft_carrier", "aircraft carrier"),
        ("The_Great_Wall_of_China", "The Great Wall of China"),
        ("teddy-bear", "teddy bear"),
        ("t-shirt", "t-shirt"),
        ("cello", "cello"),
    ],
)
def test_class_names_as_text(name, text):
    assert spoken(name) == text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "ViT-B-16-quickgel"}, "open_clip has no such model; nearest: .*ViT-B-16-quickgelu"),
        (
            {"pretrained": "opnai"},
            "such weights of tiny-quickgelu; it has: openai .or false., or give backbone.weights=FILE",
        ),
        ({"pretrained": True}, "pretrained=True: open_clip has no such weights"),
        ({"classes": None}, "needs their names; given: none"),
        ({"classes": CLASSES[:3]}, "head of 4 classes needs their names; given: 3"),
        ({"weights": "/no/such.pt"}, "backbone.weights=/no/such.pt: there is no such file"),
        ({"image_size": "big"}, "image_size=big: give a whole number"),
    ],
)
def test_what_is_wrong_is_named(tiny, options, words):
    with pytest.raises(DigrapError, match=words):
        backbone(**options)


def test_a_file_that_is_no_weights_of_the_model_is_named(tiny, tmp_path):
    path = tmp_path / "w.safetensors"
    for content in (b"no weights", None):
        if content is None:
            safetensors.torch.save_file({"visual.proj": torch.ones(2)}, path)
        else:
            path.write_bytes(content)
        with pytest.raises(DigrapError, match=r"w.safetensors: not readable, or not weights of tiny-quickgelu \("):
            backbone(weights=path)


def test_without_network_the_way_out_is_named(tiny, monkeypatch):
    def offline(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(open_clip, "download_pretrained", offline)
    with pytest.raises(DigrapError, match="could not be fetched .no route.*backbone.weights=<file>"):
        backbone()
