"""The commands the project is known by compose to the paper's recipes."""

import pytest

from digrap.config import compose


def test_train_alone_is_digrap_on_the_miniature():
    cfg = compose([])
    assert (cfg.dataset.name, cfg.backbone.name, cfg.optim.name) == ("minidomainnet", "mini_resnet", "digrap")
    assert (cfg.trainer.epochs, cfg.trainer.base.name, cfg.trainer.base.lr) == (10, "adamw", 1e-3)
    assert cfg.optim.optimizer["_target_"] == "digrap.optim.DiGraP"


def test_table_1_recipe():
    cfg = compose(["dataset=domainnet", "optim=digrap", "backbone=moco_resnet50"])
    base = cfg.trainer.base
    assert (base.name, base.lr, base.momentum, base.nesterov) == ("sgd", 1e-2, 0.9, True)
    assert (cfg.trainer.batch_size, cfg.trainer.micro_batch, cfg.trainer.epochs) == (256, 64, 50)
    assert cfg.optim.mu == 0.1
    assert cfg.optim.optimizer.base == "sgd" and cfg.optim.optimizer.lr == 1e-2
    assert cfg.schedule["_target_"].endswith(".cosine")


def test_domainnet_takes_clip_by_itself():
    assert compose(["dataset=domainnet", "optim=digrap"]).backbone.name == "clip_vit_b16"


def test_domainnet_tests_five_ood_domains():
    splits = compose(["dataset=domainnet"]).dataset.splits
    ood = {name for name, split in splits.items() if split["kind"] == "near_ood"}
    assert ood == {"sketch", "painting", "infograph", "clipart", "quickdraw"}
    assert splits["real_train"]["kind"] == "id_train" and splits["real_val"]["kind"] == "id_val"


@pytest.mark.parametrize("mu", [0.01, 0.1, 0.5, 1, 10])
def test_table_4b_values_compose(mu):
    assert compose([f"optim.mu={mu}"]).optim.optimizer.mu == mu


def test_digraps_defaults():
    optim = compose(["optim=digrap"]).optim
    assert (optim.mu, optim.lam, optim.rule, optim.normalize, optim.omega) == (0.1, 0.0, "conflict", "rows", None)
