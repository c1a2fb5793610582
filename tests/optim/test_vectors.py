"""The published test vectors: equal to newly computed ones, complete, small and documented."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.optim import check
from tools import make_vectors

RULES = ("digrap", "l2sp", "mars_sp", "spd", "ftp")


@pytest.fixture(scope="module")
def vectors():
    return check.load(check.VECTORS)


def test_vectors_equal_newly_computed_ones(vectors):
    manifest, tensors = make_vectors.make()
    assert (check.VECTORS / "vectors.json").read_text() == make_vectors.as_text(manifest)
    assert vectors.manifest == manifest
    assert vectors.tensors.keys() == tensors.keys()
    for key, value in tensors.items():
        assert vectors.tensors[key].dtype == torch.float64
        np.testing.assert_allclose(vectors.tensors[key].numpy(), value, rtol=1e-13, atol=1e-13, err_msg=key)


def test_vectors_are_small_and_documented():
    assert sum(file.stat().st_size for file in check.VECTORS.iterdir()) <= 2 * 2**20
    text = (check.VECTORS / "README.md").read_text()
    manifest = json.loads((check.VECTORS / "vectors.json").read_text())
    names = {*manifest, *manifest["keys"].values(), *manifest["tensors"]}
    names |= {key for options in manifest["defaults"].values() for key in options}
    assert not [name for name in names if f"`{name}`" not in text]


def test_vectors_cover_every_rule_base_and_anchor(vectors):
    def recipe(case):
        return "plain" if case["base"] == "sgd" and not case["options"]["momentum"] else case["base"]

    cases = vectors.manifest["cases"]
    assert len({case["id"] for case in cases}) == len(cases)
    found = {(case["rule"], recipe(case), case["anchor"]) for case in cases}
    recipes, anchors = ("adamw", "sgd", "plain"), ("init", "zero", "list")
    assert found == {*itertools.product(RULES, recipes, anchors), *(("vanilla", r, "none") for r in recipes)}
    for base in recipes:
        options = [case["options"] for case in cases if case["rule"] == "digrap" and recipe(case) == base]
        assert {(o["rule"], o["normalize"], o["omega"]) for o in options} >= {
            *itertools.product(("conflict",), ("rows", "tensor", "none"), (None,)), ("conflict", "rows", 0.6),
            ("listing", "rows", None), ("listing", "tensor", None), ("listing", "rows", 0.6),
        }  # fmt: skip
        assert {o["lam"] > 0 for o in options} == {o["omega_max"] < 1 for o in options} == {True, False}
        k = {c["options"]["k"] for c in cases if c["rule"] == "ftp" and recipe(c) == base}
        assert k == {0.0, 0.5, 1.0}
    assert all(case["options"].keys() | {"base", "anchor"} == vectors.manifest["defaults"][case["rule"]].keys()
               for case in cases)  # fmt: skip


def test_inputs_are_exact_in_float32(vectors):
    for key in [key for key in vectors.tensors if key.startswith(("start", "anchor", "gradient", "lr"))]:
        assert torch.equal(vectors.tensors[key].float().double(), vectors.tensors[key])


def test_inert_inputs_are_refused(monkeypatch):
    still = {key: value * (not key.startswith("gradient")) for key, value in make_vectors.inputs().items()}
    monkeypatch.setattr(make_vectors, "inputs", lambda: still)
    with pytest.raises(DigrapError, match="digrap-adamw-init-learnt is worth nothing"):
        make_vectors.make()


def test_the_tool_writes_them(tmp_path):
    script = ["-m", "tools.make_vectors"]  # in the repository's root: it reads tests/reference
    for argument, code in ((f"out={tmp_path}", 0), ("to=here", 2)):
        done = subprocess.run([sys.executable, *script, argument], cwd=REPO, capture_output=True, text=True)
        assert done.returncode == code and "Traceback" not in done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"vectors.json", "vectors.safetensors"}
    check.load(tmp_path)
