"""optim=file: the class is found and gets the arguments that it takes; the file's content names the run."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.engine import run as engine
from digrap.engine.fit import Fit
from digrap.methods.from_file import find_class, from_file
from digrap.optim import DiGraP
from digrap.optim.arguments import accepted
from tests.engine.runs import repeatable

EXAMPLE = REPO / "examples" / "my_rule.py"
PLAIN = """
import torch

class {name}(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1{more}):
        super().__init__(params, dict(lr=lr))

    def step(self, closure=None):
        pass
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="rule.py"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def params():
    return [{"params": [torch.zeros(2, requires_grad=True)]}]


def test_the_one_class_is_found(write):
    text = "from torch.optim import SGD, Optimizer\n" + PLAIN.format(name="Mine", more="")
    assert find_class(write(text)).__name__ == "Mine"  # an imported class does not count
    assert find_class(write(text), "SGD") is torch.optim.SGD  # unless it is named
    assert not list((REPO / "examples").glob("__pycache__/my_rule*")) and find_class(str(EXAMPLE))


def test_of_several_one_is_named(write):
    file = write(PLAIN.format(name="First", more="") + PLAIN.format(name="Second", more=""))
    with pytest.raises(DigrapError, match="defines First, Second; choose one, as in optim.cls=Second"):
        find_class(file)
    assert find_class(file, "First").__name__ == "First"
    with pytest.raises(DigrapError, match="optim.cls=Third: .* it defines First, Second"):
        find_class(file, "Third")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "defines no subclass of torch.optim.Optimizer"),
        ("import torch\nclass Broken(\n", "line 2: SyntaxError: '\\(' was never closed"),
        ("import torch\n\n1 / 0\n", "line 3: ZeroDivisionError: division by zero"),
        ("import no_such_module\n", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_bad_file_is_one_message(write, text, message):
    for _ in range(2):  # the first attempt leaves nothing behind
        with pytest.raises(DigrapError, match=message) as error:
            find_class(write(text))
    assert "rule.py" in str(error.value) and "\n" not in str(error.value)


def test_the_class_gets_the_arguments_that_it_takes(write):
    common = dict(lr=0.3, weight_decay=0.2, betas=[0.8, 0.9], eps=1e-7, base="adamw", momentum=0.0, anchor="init")
    plain = from_file(params(), file=write(PLAIN.format(name="Mine", more="")), **common)
    assert plain.defaults == {"lr": 0.3}
    adamw = from_file(params(), file=write("from torch.optim import AdamW"), cls="AdamW", **common)
    assert (adamw.defaults["betas"], adamw.defaults["weight_decay"]) == ((0.8, 0.9), 0.2)
    example = from_file(params(), file=str(EXAMPLE), options={"pull": 3.0, "lr": 0.5}, **common)
    assert (example.param_groups[0]["pull"], example.param_groups[0]["lr"], example.defaults["eps"]) == (3, 0.5, 1e-7)
    text = "from digrap.optim import DiGraP\nclass Mine(DiGraP):\n    pass\n"
    assert from_file(params(), file=write(text), **common).param_groups[0]["anchor"] == "init"
    assert accepted(DiGraP) is None and "betas" in accepted(find_class(str(EXAMPLE)))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "optim.file is not given; add optim.file=my_rule.py"),
        (["optim.file=not_there.py"], "not_there.py: there is no such file"),
        (
            [f"optim.file={EXAMPLE}", "+optim.options.pul=1"],
            "optim.options.pul: PullBack takes no such argument; leave it out; nearest: pull",
        ),
        ([f"optim.file={EXAMPLE}", "trainer.base.eps=-1"], "ValueError: Invalid epsilon value"),
        ([f"optim.file={EXAMPLE}", "optim.cls=Mine"], "optim.cls=Mine: .* it defines PullBack"),
    ],
)
def test_bad_options_end_before_anything_runs(small, tmp_path, overrides, message):
    with pytest.raises(DigrapError, match=message) as error:
        engine.run(small("optim=file", *overrides), tmp_path / "run")
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_the_content_names_the_run(write):
    def name(*overrides):
        return run_hash(compose(["optim=file", *overrides]))

    text = PLAIN.format(name="Mine", more="")
    here, there = write(text), write(text, "other name.py")
    assert name(f"optim.file='{here}'") == name(f"optim.file='{there}'")
    first = name(f"optim.file={here}")
    assert first != name(f"optim.file={here}", "+optim.options.lr=1.0")
    write(text + "# changed\n")
    assert name(f"optim.file={here}") not in (first, name(f"optim.file='{there}'"))


def test_a_changed_file_is_refused(write):
    file = write(PLAIN.format(name="Mine", more=""))
    with pytest.raises(DigrapError, match="changed while the run started"):
        from_file(params(), file=file, sha256="0123456789ab")


def test_resume_is_bit_equal(small, tmp_path, monkeypatch):
    cfg = small("optim=file", f"optim.file={EXAMPLE}", "+optim.options.pull=5.0")
    engine.run(cfg, tmp_path / "whole")
    take = Fit._step

    def crashing(self, batches):
        if self.position.step == 9:
            raise KeyboardInterrupt
        take(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Fit, "_step", crashing)
        with pytest.raises(KeyboardInterrupt):
            engine.run(cfg, tmp_path / "cut")
    moved = tmp_path / "moved.py"
    shutil.copy(EXAMPLE, moved)
    engine.run(small("optim=file", f"optim.file={moved}", "+optim.options.pull=5.0"), tmp_path / "cut")
    results = [repeatable(tmp_path / name) for name in ("whole", "cut")]
    assert results[0] == results[1] and results[0]["method"] == "PullBack"
    whole, cut = (load_file(tmp_path / name / results[0]["weights"]) for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
