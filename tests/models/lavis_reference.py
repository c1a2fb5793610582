"""Models of LAVIS with the reference's weights, and its batch: see tests/data/lavis."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from digrap.core.paths import REPO
from digrap.models.lavis import ENC, START, make_module
from digrap.models.lavis_files import bert_tokenizer

if importlib.util.find_spec("lavis") is None:
    pytest.skip("salesforce-lavis is not installed", allow_module_level=True)

FOLDER = REPO / "tests" / "data" / "lavis"
KNOWN = json.loads((FOLDER / "expected.json").read_text())
SAMPLES, ANSWERS = KNOWN["samples"], KNOWN["answer_list"]
EACH = ("blip", "albef")


def tokenizer(kind, folder):
    """The reference's tokenizer; `folder` gets its vocabulary."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(KNOWN["vocab"]) + "\n")
    return bert_tokenizer(str(folder), START[kind], *([ENC] if kind == "blip" else []))


def reference(kind, folder, distill=True):
    """(model in training mode, pictures (2, 3, 32, 32)); ALBEF with momentum twins if `distill`."""
    text, layers = dict(KNOWN["bert_config"]), KNOWN["albef"]["decoder"]["num_hidden_layers"]
    if kind == "albef":
        text |= KNOWN["albef"]["encoder"]
    twins = distill and kind == "albef"
    module = make_module(kind, KNOWN["vit"], text, layers, twins)
    module.use_tokenizer(tokenizer(kind, folder), ENC)
    with np.load(FOLDER / f"{kind}_vqa.npz") as stored:
        arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
    state = {name.removeprefix("state/"): value for name, value in arrays.items() if name.startswith("state/")}
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected and all("_m." in name for name in missing)
    if twins:
        module.copy_params()
    return module.train(), arrays["image"]


def batch(kind, module, image):
    """The reference's batch as the library's own forward pass takes it: two questions, three weighted answers."""
    tokens = module.tokenizer.tokenizer
    inputs = {"image": image}
    for name, texts in (("question", SAMPLES["text_input"]), ("answer", SAMPLES["answer"])):
        found = tokens(texts, padding="longest", return_tensors="pt")
        inputs |= {name: found["input_ids"], f"{name}_mask": found["attention_mask"]}
    own = {key: SAMPLES[key] for key in ("epoch", "iters", "num_iters_per_epoch")} if kind == "albef" else {}
    weights = {"weight": torch.tensor(SAMPLES["weight"]), "n_answers": torch.tensor(SAMPLES["n_answers"])}
    return {**module.samples(inputs), **weights, **own}, inputs
