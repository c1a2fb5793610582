"""The command that the page prints for a run is one that the command line takes, and it makes that run."""

import shlex

import pytest
from omegaconf import OmegaConf

from digrap.config.compose import compose, compose_untyped
from digrap.config.identity import run_hash
from digrap.config.overrides import as_typed
from digrap.config.schema import typed
from digrap.report.page.command import overrides_of, train_command

RULE = "import torch\n\nclass Mine(torch.optim.AdamW):\n    pass\n"


def printed(cfg):
    """The overrides that the page prints for a config."""
    found = overrides_of(OmegaConf.to_container(cfg), run_hash(cfg))
    assert found is not None
    return shlex.split(train_command(found))[2:]


def from_the_shell(words):
    """The config of `python train.py <words>`: read by Hydra as a whole, as typed on a command line."""
    return typed(compose_untyped(list(map(as_typed, words)), "train"))


OWN = ["dataset=folder", "backbone.model=resnet50"]
KINDS = {
    "a method's option": ["optim=spd", "optim.strength=0.5", "seed=3"],
    "a start": ["optim=lp_ft", "trainer.base.lr=3e-3"],
    "questions": ["dataset=minivqa", "optim=zero_shot"],
    "own pictures": [*OWN, "dataset.root=/my/pictures", "dataset.near_ood=[sketch,night]", "dataset.far_ood=[other]"],
    "odd names": [*OWN, r"dataset.root='/my, own/it\'s [here]'", "dataset.near_ood=['a b','3','null','x,y']"],
    "own splits": [*OWN, "+dataset.splits.more={folder: more, kind: near_ood}", "dataset.splits.val.folder='val 2'"],
    "own questions": ["dataset=vqa_json", "dataset.root=/my/questions", "dataset.near_ood=[night]"],
    "data elsewhere": ["dataset=folder", "backbone.model=resnet50", "data_root=/my data", "dataset.near_ood=[sketch]"],
    "another schedule": ["schedule=linear_warmup_cosine", "trainer.base.betas=[0.8,0.99]", "trainer.clip_grad=1"],
}


@pytest.mark.parametrize("words", KINDS.values(), ids=KINDS)
def test_the_command_line_takes_a_printed_command_and_makes_that_run(words):
    cfg = compose(words)
    found = printed(cfg)
    assert run_hash(from_the_shell(found)) == run_hash(cfg) and f"seed={cfg.seed}" in found


def test_an_optimizer_of_ones_own_is_named_by_its_file_and_options_alone(tmp_path):
    file = tmp_path / "my rule.py"
    file.write_text(RULE)
    words = ["optim=file", f"optim.file='{file}'", "+optim.options.keep=0.25", "+optim.options.kind={a: [1, b]}"]
    cfg = compose(words)
    found = printed(cfg)
    assert run_hash(from_the_shell(found)) == run_hash(cfg)
    assert "+optim.options.keep=0.25" in found and not [word for word in found if "sha256" in word]
    file.write_text(RULE + "\n# another rule\n")
    assert overrides_of(OmegaConf.to_container(cfg), run_hash(cfg)) is None  # the file makes another run now


def test_data_that_are_elsewhere_stay_there_and_a_clone_may_move(tmp_path):
    for name, kept in (("there", True), ("gone", False)):
        root = tmp_path / name / "data"
        if kept:
            root.mkdir(parents=True)
        found = printed(cfg := compose([f"data_root={root}"]))
        assert (f"data_root={root}" in found) is kept and run_hash(from_the_shell(found)) == run_hash(cfg)


def test_what_todays_configs_do_not_make_has_no_command():
    cfg = compose(["optim=spd"])
    assert overrides_of(OmegaConf.to_container(cfg), "0123456789") is None  # a config that has changed since
    assert overrides_of({}, run_hash(cfg)) is None
