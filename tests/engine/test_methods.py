"""Every method of configs/optim on the small miniature: it trains, resumes bit for bit and reports."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from digrap.config.compose import compose, start_config
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.core.paths import CONFIGS, REPO
from digrap.engine import run as engine
from digrap.engine.fit import Fit
from digrap.methods.wise_ft import WiSE
from digrap.models.backbone import Backbone
from digrap.models.mini_resnet import WEIGHTS, build_module
from tests.engine.runs import crash_at, load_checkpoint, repeatable, results, weights

METHODS = sorted(path.stem for path in (CONFIGS / "optim").glob("[!_]*.yaml"))
TRAIN = [name for name in METHODS if compose([f"optim={name}"]).optim.trains]
PAPER = {
    "zero_shot", "vanilla", "lp", "lp_ft", "partial_fusion", "l2sp", "mars_sp", "spd", "ftp", "tpgm", "wise_ft",
    "digrap",
}  # fmt: skip


def test_the_twelve_rows_of_the_paper_are_there():
    assert set(METHODS) >= PAPER


QUICK = (("tpgm", "adamw"), ("lp_ft", "adamw"), ("spd", "adamw"))  # resume in make test


@pytest.mark.parametrize("name", METHODS)
def test_each_says_what_it_is_and_how_it_is_called(name):
    first, second, *_ = (CONFIGS / "optim" / f"{name}.yaml").read_text().splitlines()
    assert first.startswith("# ") and len(first) > 20
    assert second == f"# python train.py optim={name}"
    assert compose([f"optim={name}"]).optim.name == name


@pytest.mark.parametrize(("name", "base"), [
    pytest.param(name, base, marks=[] if name == "digrap" or (name, base) in QUICK else [pytest.mark.slow])
    for name in TRAIN for base in ("adamw", "sgd")
])  # fmt: skip
def test_resume_is_bit_equal(small, tmp_path, monkeypatch, name, base):
    options = {"tpgm": ["optim.proj_freq=2"], "file": [f"optim.file={REPO}/examples/my_rule.py"]}.get(name, [])
    momentum = ["trainer.base.momentum=0.9"] if base == "sgd" else []
    cfg = small(f"optim={name}", f"trainer.base.name={base}", *momentum, *options)
    engine.run(cfg, tmp_path / "whole")
    with monkeypatch.context() as patch:
        if start := start_config(cfg):  # that run is done; the cut is in this one
            shutil.copytree(tmp_path / run_hash(start), tmp_path / "c" / run_hash(start))
        patch.setattr(Fit, "_checkpoint_is_due", lambda self: True)
        crash_at(patch, 9)
        with pytest.raises(KeyboardInterrupt):
            engine.run(cfg, tmp_path / "c" / "cut")
    assert load_checkpoint(tmp_path / "c" / "cut" / "checkpoints")["position"]["step"] == 9
    engine.run(cfg, tmp_path / "c" / "cut")
    assert repeatable(tmp_path / "c" / "cut") == repeatable(tmp_path / "whole")
    cut, whole = weights(tmp_path / "c" / "cut"), weights(tmp_path / "whole")
    assert all(torch.equal(cut[key], whole[key]) for key in whole)
    assert (tmp_path / "c" / "cut" / "metrics.jsonl").read_bytes() == (
        tmp_path / "whole" / "metrics.jsonl"
    ).read_bytes()


def changed(folder):
    """Names of the tensors that are no longer the pre-trained ones."""
    before, after = load_file(WEIGHTS), weights(folder)
    return {name for name in after if not torch.equal(before[name], after[name])}


def test_linear_probing_moves_the_head_alone(small, tmp_path):
    engine.run(small("optim=lp"), tmp_path)
    assert changed(tmp_path) == {"fc.weight", "fc.bias"}


def test_partial_fusion_moves_norms_and_head(small, tmp_path):
    engine.run(small("optim=partial_fusion"), tmp_path)
    module = build_module(45)
    norms = {name for name, layer in module.named_modules() if isinstance(layer, torch.nn.LayerNorm)}
    assert norms and changed(tmp_path) == {"fc.weight", "fc.bias"} | {
        f"{norm}.{part}" for norm in norms for part in ("weight", "bias")
    }


def test_lp_ft_is_initialised_from_the_probed_head(small, tmp_path, monkeypatch):
    """Its first phase is the run of optim=lp: made once, used by both rows."""
    cfg = small("optim=lp_ft")
    beside = tmp_path / run_hash(small("optim=lp"))
    starts = []
    build = Fit.__init__

    def spy(self, job):
        starts.append({name: value.clone() for name, value in job.backbone.module.state_dict().items()})
        build(self, job)

    monkeypatch.setattr(Fit, "__init__", spy)
    engine.run(cfg, tmp_path / "ft")
    assert len(starts) == 2 and results(tmp_path / "ft")["start"] == {"method": "lp", "hash": beside.name}
    probed = weights(beside)
    assert all(torch.equal(starts[1][name], probed[name]) for name in probed)
    assert not torch.equal(starts[0]["fc.weight"], starts[1]["fc.weight"])
    engine.run(small("optim=lp_ft", "optim.optimizer.lr=1e-4"), tmp_path / "other")
    assert len(starts) == 3, "the probe was made again"


def test_the_first_phase_can_have_options_of_its_own(small):
    cfg = start_config(small("optim=lp_ft", "+optim.start.trainer.base.lr=0.02"))
    assert (cfg.trainer.base.lr, cfg.optim.optimizer.lr, cfg.optim.name) == (0.02, 0.02, "lp")
    cfg = start_config(small("optim=wise_ft", "optim.start={optim: {name: spd, strength: 0.9}}"))
    assert (cfg.optim.name, cfg.optim.optimizer.strength) == ("spd", 0.9)


@pytest.mark.parametrize(("name", "earlier"), [("lp_ft", "lp"), ("wise_ft", "vanilla"), ("tpgm_once", "vanilla")])
def test_the_first_phase_is_the_other_row(name, earlier):
    """Same hash, so tables share the run."""
    for extra in ([], ["seed=3", "trainer.base.lr=3e-4", "trainer.epochs=4"]):
        assert run_hash(start_config(compose([f"optim={name}", *extra]))) == run_hash(
            compose([f"optim={earlier}", *extra])
        )


@pytest.mark.parametrize(
    ("override", "message"),
    [("optim.start.optim=lq", "optim.start=.*lq"), ("+optim.start.trainer.base.lrr=1", "optim.start=.*lrr"),
     ("optim.start.optim=null", "give the earlier method"), ("optim.start=5", "give the earlier method"),
     ("optim.start={optim: {strength: 1}}", "optim.start=")],
)  # fmt: skip
def test_a_start_that_does_not_compose_is_named(small, override, message):
    with pytest.raises(DigrapError, match=message):
        start_config(small("optim=lp_ft", override))


def test_wise_ft_ends_are_the_two_models(small, tmp_path):
    """a = 0 gives the pre-trained model's scores, a = 1 the fine-tuned one's; the whole curve is one run."""
    engine.run(small("optim=zero_shot"), tmp_path / "zero")
    engine.run(small("optim=wise_ft", "optim.curve=[0.0,0.25,1.0]"), tmp_path / "wise")
    wise = results(tmp_path / "wise")
    assert list(wise["variants"]) == ["0", "0.25", "0.5", "1"]
    assert wise["variants"]["0"] == results(tmp_path / "zero")["scores"]
    assert wise["variants"]["1"] == results(tmp_path / wise["start"]["hash"])["scores"]
    assert wise["variants"]["0.5"] == wise["scores"]
    tuned, before = weights(tmp_path / wise["start"]["hash"]), load_file(WEIGHTS)
    for name, value in weights(tmp_path / "wise").items():
        torch.testing.assert_close(value, (before[name] + tuned[name]) / 2)


@pytest.mark.slow
def test_tpgm_stays_nearer_than_vanilla(small, tmp_path):
    before = load_file(WEIGHTS)

    def distance(name, *options):
        engine.run(small(f"optim={name}", *options), tmp_path / "".join([name, *options]))
        after = weights(tmp_path / "".join([name, *options]))
        return sum(float((after[key] - before[key]).norm()) for key in before)

    assert distance("tpgm") < distance("vanilla") and distance("tpgm_once", "optim.max_iters=5") < distance("vanilla")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optim=ftp", "optim.k=2"], r"optim=ftp: k=2 is outside \[0, 1\]"),
        (["optim=spd", "optim.strength=-1"], "optim=spd: Invalid strength"),
        (["optim=l2sp", "optim.lam=-1"], "optim=l2sp: Invalid lam"),
        (["optim=tpgm", "optim.norm=l1"], "optim=tpgm: norm='l1'"),
        (["optim=wise_ft", "optim.alpha=2"], "optim=wise_ft: alpha=2"),
        (["optim=lp", "optim.trains=heads"], "optim.trains=heads: choose one of all, head, norms_and_head"),
        (["optim=tpgm", "optim.holdout=1.0"], "optim.holdout=1.0"),
        (["optim=tpgm", "optim.holdout=abc"], "optim.holdout=abc"),
        (["optim=wise_ft", "optim.trains=all"], "optim.trains=all with no optimizer"),
        (["optim=zero_shot", "optim.start=lp"], "optim.start=lp: nothing is trained or computed from that run"),
        (["optim=tpgm", "optim.trains=null"], "optim.trains=None with an optimizer"),
    ],
)
def test_bad_options_end_before_anything_runs(small, tmp_path, overrides, message):
    with pytest.raises(DigrapError, match=message):
        engine.run(small(*overrides), tmp_path / "run")
    assert not tmp_path.exists() or not list(tmp_path.glob("*/checkpoints"))


def test_zero_shot_needs_a_head(small, tmp_path, monkeypatch):
    with pytest.raises(DigrapError, match="has no pre-trained head for minidomainnet"):
        engine.run(small("optim=zero_shot", "backbone.pretrained=false"), tmp_path)


def test_a_head_without_anchor_stays_under_wise_ft(small, tmp_path, monkeypatch):
    make = Backbone.__init__

    def fresh_head(self, *args, **kwargs):
        make(self, *args, **{**kwargs, "unanchored": ("fc",)})

    monkeypatch.setattr(Backbone, "__init__", fresh_head)
    engine.run(small("optim=wise_ft", "optim.curve=[]"), tmp_path / "wise")
    tuned = weights(tmp_path / results(tmp_path / "wise")["start"]["hash"])
    averaged = weights(tmp_path / "wise")
    assert torch.equal(averaged["fc.weight"], tuned["fc.weight"])
    assert not torch.equal(averaged["conv1.0.weight"], tuned["conv1.0.weight"])
    assert WiSE(alpha=0.5).points == [0.5]


@pytest.mark.parametrize("same", ["optim.start=lp", "optim.start={optim: {name: lp}}", "+optim.start.device=cpu"])
def test_one_start_has_one_hash_however_it_is_said(small, same):
    assert run_hash(small("optim=lp_ft", same)) == run_hash(small("optim=lp_ft"))
    assert run_hash(small("optim=lp_ft", "+optim.start.trainer.base.lr=0.1")) != run_hash(small("optim=lp_ft"))
