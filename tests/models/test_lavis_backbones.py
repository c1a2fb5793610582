"""LAVIS's models as backbones: adapters, checkpoints and their keys, answers from a list, a missing package."""

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import torch

from digrap.core.errors import DigrapError
from digrap.models import lavis
from tests.models import tiny_lavis_files
from tests.models.lavis_reference import EACH  # it skips without LAVIS
from tests.models.tiny import ANSWERS as TEXTS
from tests.models.tiny import QUESTIONS, pictures

from digrap.models import lavis_files, tiny_lavis  # isort: skip
from digrap.models.lora import lora  # isort: skip
from digrap.optim import DiGraP  # isort: skip

OPTIONS = {"r": 8, "alpha": 16, "dropout": 0.0}


@pytest.fixture(params=EACH)
def kind(request):
    return request.param


def tiny(kind, **options):
    torch.manual_seed(0)
    return getattr(tiny_lavis, f"tiny_{kind}")(pretrained=False, **options)


def adapted(backbone):
    return {name.partition(".lora_A")[0] for name, _ in backbone.module.named_parameters() if ".lora_A." in name}


# Attention's layers: two blocks of vision with a fused qkv and a proj; q, k, v, o of self- and cross-attention in text.
COUNTS = {("blip", "authors"): 36, ("blip", "split"): 40, ("albef", "authors"): 24, ("albef", "split"): 28,
          ("blip", "language"): 32, ("albef", "language"): 20}  # fmt: skip


@pytest.mark.parametrize("targets", ["authors", "split", "language"])
def test_adapters_are_beside_attention_alone(kind, targets):
    backbone = lora(tiny(kind, **({"distill": True} if kind == "albef" else {})), **OPTIONS, targets=targets)
    found = adapted(backbone)
    assert len(found) == COUNTS[kind, targets] and not any("_m." in name for name in found)
    assert {name.rpartition(".")[2] for name in found} <= {"qkv", "proj", "query", "key", "value", "dense"}
    assert not any("intermediate" in name or ".cls." in name or "patch" in name for name in found)
    fused = targets == "authors"
    assert any(name.endswith(".qkv") for name in found) == fused
    assert ("adapters" in backbone.notes) == fused
    assert not fused or backbone.notes["adapters"].startswith("2 fused layers have one pair of rank 8")


def test_a_list_of_names_leaves_twins_and_convolutions_out():
    backbone = lora(tiny("albef", distill=True), **OPTIONS, targets=["qkv", "proj", "query"])
    assert len(adapted(backbone)) == 2 * 2 + 2 + 1 + 1 + 1  # vision; self-attention twice, once crossed; the decoder
    with pytest.raises(
        DigrapError,
        match="no linear layer of the backbone is called q_proj; give authors or card or split or language, or a list",
    ):
        lora(tiny("albef"), **OPTIONS, targets=["q_proj"])


def test_split_computes_what_the_fused_layer_does(kind):
    backbone, split = tiny(kind), lora(tiny(kind), **OPTIONS, targets="split")
    inputs = backbone.answering.encode(pictures(), QUESTIONS, TEXTS)
    with torch.no_grad():
        torch.testing.assert_close(split.module(**inputs), backbone.module(**inputs), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("distill", [False, True])
def test_training_adapters_leaves_all_else_as_it_was(kind, distill):
    if distill and kind == "blip":
        with pytest.raises(
            DigrapError, match="backbone.distill=True: give false, or true for ALBEF, which alone has momentum twins"
        ):
            tiny(kind, distill=True)
        return
    backbone = lora(tiny(kind, distill=distill), **OPTIONS, targets="authors")
    module = backbone.module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    optimizer = DiGraP([param for param in module.parameters() if param.requires_grad], lr=1e-2, mu=0.1)
    inputs, losses = backbone.answering.encode(pictures(), QUESTIONS, TEXTS), []
    for _ in range(4):
        loss = backbone.answering.loss(module, inputs)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert all(param.grad is not None for param in module.parameters() if param.requires_grad)
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    trained = {name for name, param in module.named_parameters() if param.requires_grad}
    rounded = {name for name in changed if "_m." in name}  # a twin of frozen weights: w · m + w · (1 - m)
    assert changed - rounded == trained and all("lora_" in name for name in trained)
    for name in rounded:
        torch.testing.assert_close(module.state_dict()[name], before[name])


def test_answers_from_a_list(kind, tmp_path):
    file = tmp_path / "answers.json"
    file.write_text(json.dumps(["red", "3", "yes", "red"]))
    backbone = tiny(kind, answers=str(file), candidates=2)
    backbone.module.eval()
    assert backbone.notes["ranked"] == {"answers": 3, "candidates": 2}
    found = backbone.answering.generate(backbone.module, backbone.answering.encode(pictures(), QUESTIONS))
    assert len(found) == 4 and set(found) <= {"red", "3", "yes"}
    for text, told in (("{}", "it holds no list of texts"), ("[", "it cannot be read"), ('["zebra"]', "not zebra")):
        file.write_text(text)
        with pytest.raises(DigrapError, match=told):
            tiny(kind, answers=str(file))
    with pytest.raises(DigrapError, match="backbone.candidates=0: give a whole number of at least 1"):
        tiny(kind, candidates=0)


def test_a_missing_package_is_named_with_its_installation(kind, monkeypatch):
    monkeypatch.setitem(lavis.PACKAGES, "no_such_package", "salesforce-something==1.0.2")
    with pytest.raises(DigrapError, match=r"backbone=tiny_\w+: salesforce-something==1.0.2: not .* install --no-deps"):
        tiny(kind)


def checkpoint(kind, folder):
    """(file, state) of the published form, of a larger resolution than the model's."""
    made = tiny_lavis_files.make(f"{kind}_vqa", folder / "made")
    file = folder / "made" / "model.pth"
    assert str(file) in made.paths[0]
    return file, torch.load(file, weights_only=True)["model"]


def real(kind, folder, file=None, url="https://storage.invalid/model.pth", **options):
    tiny_lavis_files.vocabulary(folder / "bert")
    sizes = {"vision": tiny_lavis_files.VISION, "text": tiny_lavis_files.text_sizes(kind)}
    return getattr(lavis, f"{kind}_vqa")(
        url=url, folder=str(folder / "weights"), tokenizer=str(folder / "bert"),
        weights=file and str(file), image_size=32, sizes=sizes, **options,
    )  # fmt: skip


def test_a_published_checkpoint_has_a_place_for_every_key(kind, tmp_path):
    file, state = checkpoint(kind, tmp_path)
    backbone = real(kind, tmp_path, file)
    loaded, prefix = backbone.module.state_dict(), "text_encoder." if kind == "blip" else "text_encoder.bert."
    assert loaded["visual_encoder.pos_embed"].shape == (1, 5, 32)  # 2 x 2 patches of 3 x 3
    assert torch.equal(loaded["visual_encoder.cls_token"], state["visual_encoder.cls_token"])
    first, word = (
        "text_decoder.bert.encoder.layer.0.attention.self.query.weight",
        "encoder.layer.1.attention.self.query.weight",
    )
    assert torch.equal(loaded[f"text_encoder.{word}"], state[prefix + word])
    if kind == "albef":  # the decoder's first layer is the encoder's first that sees the picture
        assert torch.equal(loaded[first], state[prefix + word])
        assert torch.equal(loaded["text_decoder.cls.predictions.bias"], state["text_encoder.cls.predictions.bias"])
    assert backbone.provenance["source"] == "file" and len(backbone.provenance["sha256"]) == 64
    torch.save({"model": {**state, "strange.weight": torch.zeros(1)}}, file)
    with pytest.raises(DigrapError, match="unknown keys: strange.weight"):
        real(kind, tmp_path, file)
    del state["visual_encoder.norm.weight"]
    torch.save({"model": state}, file)
    with pytest.raises(DigrapError, match="missing keys: visual_encoder.norm.weight"):
        real(kind, tmp_path, file)


@pytest.mark.slow  # a new interpreter
def test_a_file_with_more_than_tensors_has_a_command_that_helps(tmp_path):
    file, state = checkpoint("blip", tmp_path)
    torch.save({"model": state, "config": pytest.approx}, file)
    with pytest.raises(DigrapError, match="not a readable torch file") as told:
        real("blip", tmp_path, file)
    command = re.search("`python (.*?)` keeps the tensors", str(told.value))[1]
    subprocess.run(f"{shlex.quote(sys.executable)} {command}", shell=True, check=True)
    real("blip", tmp_path, file.with_name("model.tensors.pth"))


def test_weights_that_are_nowhere(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("digrap.data.download.fetch.PAUSE", 0.0)
    with pytest.raises(DigrapError) as told:
        real(kind, tmp_path)
    text = str(told.value)
    assert text.startswith("backbone.weights=null: ") and "curl -L -C - --create-dirs -o" in text
    assert str(tmp_path / "weights" / "model.pth") in text and "mirror" not in text
    with pytest.raises(DigrapError, match="there is no such file"):
        real(kind, tmp_path, tmp_path / "none.pth")


def test_a_folder_without_a_vocabulary(kind, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DigrapError, match="backbone.tokenizer=.*: the folder has no vocab.txt"):
        lavis_files.bert_tokenizer(str(tmp_path / "empty"), lavis.START[kind])


def test_weights_are_fetched_from_their_address(tmp_path):
    """By the builder itself, and by the command that its message has."""
    file, _ = checkpoint("blip", tmp_path)
    with served(file.parent) as address:
        backbone = real("blip", tmp_path, url=f"{address}/model.pth")
        assert backbone.provenance["source"] == "salesforce/LAVIS"
        kept = tmp_path / "weights" / "model.pth"
        assert kept.read_bytes() == file.read_bytes()
        kept.unlink()
        with pytest.raises(DigrapError) as told:
            lavis_files.weight_file(None, f"{address}/none/model.pth", str(kept.parent))
        if shutil.which("curl"):
            command = re.search("`(curl .*?)` fetches it", str(told.value))[1].replace("/none/", "/")
            subprocess.run(command, shell=True, check=True, capture_output=True)
            assert kept.read_bytes() == file.read_bytes()


@contextlib.contextmanager
def served(folder):
    """A server on this machine that gives the folder's files; yields its address."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
