"""The check that runs any optimizer over the published test vectors."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from digrap.core.paths import REPO
from digrap.optim import check
from tests.reference import DiGraP as Reference

OURS = {"DiGraP": "digrap", "L2SP": "l2sp", "MARSSP": "mars_sp", "SPD": "spd", "FTP": "ftp"}
MODULE = """
import torch
from torch.optim import SGD
from digrap.optim import DiGraP

class Unclamped(DiGraP):
    def decide(self, bucket, d, n, energy, h):
        group, bucket.group = bucket.group, bucket.group | {"omega_max": 1e9}
        factors = super().decide(bucket, d, n, energy, h)
        bucket.group = group
        return factors

class Exponent(DiGraP):
    def decide(self, bucket, d, n, energy, h):
        bucket.step -= 1
        factors = super().decide(bucket, d, n, energy, h)
        bucket.step += 1
        return factors

class Seventh(DiGraP):
    steps = 0
    def step(self, closure=None):
        super().step(closure)
        self.steps += 1
        if self.steps == 7:
            self.param_groups[0]["params"][2].data[1, 0, 1, 1] += 1e-8

class Nan(DiGraP):
    def step(self, closure=None):
        super().step(closure)
        self.param_groups[0]["params"][3].data.fill_(float("nan"))

class Raises(DiGraP):
    def step(self, closure=None):
        raise RuntimeError("no such luck\\nsecond line")

class Renamed(DiGraP):
    def __init__(self, params, learning_rate, betas, eps, weight_decay, alpha_mu, rule, normalize, omega_max, anchor):
        if anchor == "zero":
            raise NotImplementedError("no zero anchor here")
        super().__init__(params, learning_rate, betas, eps, weight_decay, mu=alpha_mu, rule=rule, normalize=normalize,
                         omega_max=omega_max, anchor=anchor)

class NoOptimizer:
    def __init__(self, params, **options):
        pass

def plain(params, lr):
    return SGD(params, lr)

number = 3
"""


@pytest.fixture(scope="module")
def vectors():
    return check.load(check.VECTORS)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A user's module, in the current directory."""
    (tmp_path / "someones.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "someones"
    sys.modules.pop("someones", None)


@pytest.fixture
def run(capsys):
    """Run the check with some arguments; returns the exit code, the lines of output and the errors."""

    def call(*arguments):
        code = check.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return call


# --- what passes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_ours_are_equal(name, run, vectors):
    count = sum(case["rule"] == OURS[name] for case in vectors.manifest["cases"])
    code, lines, err = run(f"digrap.optim:{name}", "--rule", OURS[name])
    assert (code, err, lines[-1]) == (0, "", f"{count} cases: {count} equal, 0 deviate, 0 skipped")
    assert len(lines) == count + 1 and all(line.startswith("ok ") for line in lines[:-1])
    code, lines, _ = run(f"digrap.optim:{name}", "--rule", name, "--dtype", "float32")  # or by the class's name
    assert (code, lines[-1]) == (0, f"{count} cases: {count} equal, 0 deviate, 0 skipped")
    assert run(f"digrap.optim:{name}", "--rule", "Vanilla")[1][-1] == "3 cases: 3 equal, 0 deviate, 0 skipped"


@pytest.mark.parametrize(("name", "equal"), [("AdamW", 1), ("SGD", 2)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torchs_own_are_vanilla(name, equal, dtype, run):
    code, lines, _ = run(f"torch.optim:{name}", "--rule", "vanilla", "--dtype", dtype)
    assert (code, lines[-1]) == (0, f"3 cases: {equal} equal, 0 deviate, {3 - equal} skipped")
    assert sum("no option base" in line for line in lines) == 3 - equal


# --- what deviates --------------------------------------------------------------------------------------------------


def failures(lines):
    """{case: message} of the cases that deviate."""
    return dict(line.removeprefix("FAIL     ").split(": ", 1) for line in lines if line.startswith("FAIL"))


def test_a_missing_clamp_is_caught_in_the_step_where_it_acts(module, run, vectors):
    (case,) = [case for case in vectors.manifest["cases"] if case["id"] == "digrap-adamw-init-omega_max"]
    first = []
    for name, expected in vectors.each("expected", case["id"]).items():
        options = case["options"] | {"omega_max": 1e9}
        slow = Reference(vectors.each("start")[name], base=case["base"], anchor=case["anchor"], **options)
        for row, g in enumerate(vectors.each("gradient")[name].numpy()):
            gap = np.abs(slow.step(g, float(vectors.tensors["lr"][row])) - expected[row].numpy())
            if (gap > 1e-10 * np.maximum(1, np.abs(expected[row].numpy()))).any():
                first.append((row + 1, name))
                break
    step = min(first)[0]
    assert step > 2
    code, lines, _ = run(f"{module}:Unclamped", "--rule", "digrap")
    message = failures(lines)[case["id"]]
    assert code == 1 and message.startswith(f"step {step}, ")
    assert (step, message.split()[2].split("[")[0]) in first


def test_a_wrong_exponent_is_caught_where_omega_first_acts(module, run):
    code, lines, _ = run(f"{module}:Exponent", "--rule", "digrap", "--case", "list")
    assert code == 1
    assert failures(lines)["digrap-adamw-list-learnt"].startswith("step 2, ")
    assert not [name for name in failures(lines) if "fixed" in name]  # a fixed ω learns nothing


def test_one_element_in_one_step_is_named(module, run):
    code, lines, _ = run(f"{module}:Seventh", "--rule", "digrap", "--case", "plain_sgd-zero")
    assert code == 1 and lines[-1] == "3 cases: 0 equal, 3 deviate, 0 skipped"
    for message in failures(lines).values():
        assert message.startswith("step 7, kernel[1, 0, 1, 1]: got ") and message.endswith("off by 1e-08")
        got, expected = (float(message.split(word)[1].split(",")[0]) for word in ("got ", "expected "))
        assert got - expected == pytest.approx(1e-8)
    assert run(f"{module}:Seventh", "--rule", "digrap", "--case", "plain_sgd-zero", "--rtol", 1e-6)[0] == 0


def test_nan_and_errors_deviate(module, run):
    code, lines, _ = run(f"{module}:Nan", "--rule", "digrap", "--case", "adamw-zero-fixed")
    assert code == 1 and "step 1, scalar: got nan" in lines[0]
    code, lines, _ = run(f"{module}:Raises", "--rule", "digrap", "--case", "adamw-zero-fixed")
    assert code == 1 and lines[0].endswith("step 1 raised RuntimeError: no such luck")


def test_another_rule_deviates(run):
    code, lines, _ = run("digrap.optim:L2SP", "--rule", "mars_sp")
    assert code == 1 and lines[-1] == "9 cases: 0 equal, 9 deviate, 0 skipped"


# --- renamed and missing options ------------------------------------------------------------------------------------


def test_options_are_renamed_and_missing_ones_skipped(module, run):
    arguments = [f"{module}:Renamed", "--rule", "digrap", "--rename", "mu=alpha_mu", "lr=learning_rate"]
    code, lines, _ = run(*arguments, "--case", "adamw")
    assert (code, lines[-1]) == (0, "14 cases: 6 equal, 0 deviate, 8 skipped")
    why = dict(line.removeprefix("skipped  ").split(": ", 1) for line in lines if line.startswith("skipped"))
    assert why["digrap-adamw-init-fixed"] == "no option omega (here 0.6)"
    assert why["digrap-adamw-list-listing_tensor_lam"] == "no option lam (here 0.2)"
    assert why["digrap-adamw-zero-learnt"] == "the constructor raised NotImplementedError: no zero anchor here"
    assert "it looks like adamw" in run(*arguments)[1][-2]


def test_a_function_that_returns_an_optimizer_is_accepted(module, run):
    code, lines, _ = run(f"{module}:plain", "--rule", "vanilla")
    assert (code, lines[-1]) == (0, "3 cases: 1 equal, 0 deviate, 2 skipped")


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digrap.optim", "--rule", "digrap"], "give module:Class"),
        (["digrap.optimist:DiGraP", "--rule", "digrap"], "digrap.optimist: cannot be imported (ModuleNotFoundError"),
        (["digrap.optim:DiGrap", "--rule", "digrap"], "no class DiGrap; nearest: DiGraP"),
        (["someones:number", "--rule", "digrap"], "no class number"),
        (["broken:Class", "--rule", "digrap"], "broken: cannot be imported (SyntaxError"),
        (["exits:Class", "--rule", "digrap"], "exits: cannot be imported (SystemExit"),
        (["digrap.optim:DiGraP", "--rule", "digarp"], "no such rule; nearest: digrap"),
        (["digrap.optim:DiGraP", "--rule", "adam"], "no such rule; valid: vanilla, digrap"),
        (["torch.optim:SGD", "--rule", "l2sp"], "nothing ran"),
        (["someones:NoOptimizer", "--rule", "digrap"], "the class makes no torch optimizer"),
        (["digrap.optim:SPD", "--rule", "spd", "--case", "warp"], "no case of spd contains it; valid: spd-adamw"),
        (["digrap.optim:SPD", "--rule", "spd", "--rtol", "nan"], "--rtol nan"),
        (["digrap.optim:SPD", "--rule", "spd", "--rename", "strength"], "give OURS=THEIRS"),
        (["digrap.optim:SPD", "--rule", "spd", "--rename", "strenght=wd"], "no option strenght; nearest: strength"),
        (["torch.optim:SGD", "--rule", "vanilla", "--rename", "lr=rate"], "the class has no option rate"),
        (["digrap.optim:SPD", "--rule", "spd", "--vectors", "nowhere"], "nowhere: vectors.json is missing"),
        (["digrap.optim:SPD", "--rule", "spd", "--vectors", "newer"], "version 2; this check reads version 1"),
        (["digrap.optim:SPD", "--rule", "spd", "--vectors", "cut"], "cut: the vectors cannot be read"),
        (["digrap.optim:SPD", "--rule", "spd", "--vectors", "nonsense"], "nonsense: the vectors cannot be read"),
    ],
)
def test_bad_input_is_one_message(arguments, message, module, tmp_path, run):
    (tmp_path / "broken.py").write_text("def")
    (tmp_path / "exits.py").write_text("raise SystemExit(0)")
    for name in ("newer", "cut", "nonsense"):
        shutil.copytree(check.VECTORS, tmp_path / name)
    newer = json.loads((tmp_path / "newer" / "vectors.json").read_text()) | {"version": 2}
    (tmp_path / "newer" / "vectors.json").write_text(json.dumps(newer))
    os.truncate(tmp_path / "cut" / "vectors.safetensors", 1000)
    (tmp_path / "nonsense" / "vectors.json").write_text("[]")
    code, _, err = run(*arguments)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1 and message in err


def test_without_safetensors_it_says_how_to_install_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    code, _, err = run("digrap.optim:SPD", "--rule", "spd")
    assert code == 2 and "pip install safetensors" in err


@pytest.mark.slow
def test_as_a_command(module, tmp_path):
    """Run from the current directory. Python would warn on stderr if the package itself had imported the check."""
    command = [sys.executable, "-m", "digrap.optim.check", f"{module}:Seventh", "--rule=DiGraP", "--case=sgd-list"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(REPO)}
    )
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.splitlines()[-1] == "6 cases: 0 equal, 6 deviate, 0 skipped"
