"""The documented commands compose to the paper's recipes."""

import pytest

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.config.schema import DECODINGS
from digrap.engine.loaders import micro_batch
from digrap.engine.schedules import cosine
from digrap.tables.spec import load_table


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


def test_cosine_is_stepped_by_epoch():
    factor = cosine(base_lr=1e-2, steps_per_epoch=430, epochs=50)
    factors = [factor(step) for step in range(50 * 430)]
    assert len(set(factors)) == 50 and factors[0] == factors[429] == 1 and factors[430] < 1


PAPER = ["vanilla", "LP", "partial fusion", "L2-SP", "MARS-SP", "LP-FT", "TPGM", "FTP", "SPD", "WiSE-FT",
         "DiGraP", "DiGraP, λ = 0.5"]  # fmt: skip
TABLES = {"1": ("moco_resnet50", PAPER), "10": ("clip_vit_b16", ["zero-shot", *PAPER])}


@pytest.mark.parametrize("name", TABLES)
def test_the_domainnet_tables_have_the_papers_rows_in_one_recipe(name):
    table, (backbone, rows) = load_table(name), TABLES[name]
    assert list(table.rows) == rows and table.baseline == "vanilla"
    assert len(table.seeds) == 3 and set(table.seeds) == {100, 101, 102}
    for row in table.rows.values():  # the last grid point of every row sets all keys of its grid
        cfg = table.cell(row.label, 100, row.choices()[-1]).config
        base, trainer = cfg.trainer.base, cfg.trainer
        assert (cfg.dataset.name, cfg.backbone.name) == ("domainnet", backbone)
        assert (base.name, base.momentum, base.nesterov) == ("sgd", 0.9, True)
        assert (trainer.batch_size, trainer.micro_batch, trainer.epochs) == (256, 64, 50)
        assert cfg.schedule["_target_"].endswith(".cosine") and cfg.schedule.min_lr == 0


def grid(row):
    return {key: {float(value) for value in values} for key, values in row.grid.items()}


def test_table_1_grids():
    rows = load_table("1").rows
    assert grid(rows["vanilla"]) == {"trainer.base.lr": {1e-2, 5e-2}, "trainer.base.weight_decay": {0, 5e-4}}
    assert grid(rows["FTP"]) == {"optim.k": {0, 0.5, 1}}
    for label, lam in (("DiGraP", 0.0), ("DiGraP, λ = 0.5", 0.5)):
        assert grid(rows[label]) == {"optim.mu": {0.01, 0.1, 0.5, 1, 10}, "trainer.base.weight_decay": {0, 5e-4}}
        cfg = load_table("1").cell(label, 100).config
        assert (cfg.trainer.base.lr, cfg.optim.mu, cfg.optim.lam) == (1e-2, 0.1, lam)


def test_table_10_adds_a_lower_rate_and_a_higher_mu():
    first, tenth = load_table("1").rows, load_table("10").rows
    assert grid(tenth["vanilla"])["trainer.base.lr"] == grid(first["vanilla"])["trainer.base.lr"] | {1e-3}
    for label in ("DiGraP", "DiGraP, λ = 0.5"):
        assert grid(tenth[label]) == {
            "trainer.base.lr": {1e-2, 1e-3},
            "optim.mu": grid(first[label])["optim.mu"] | {100},
            "trainer.base.weight_decay": {0, 5e-4},
        }
    assert tenth["TPGM"].overrides == ("optim=tpgm_once",) and tenth["TPGM"].start == "vanilla"


def test_targets_are_those_with_a_source():
    """Only table 1 has targets, from TPGM's README; its OOD average excludes quickdraw, as does our column of means."""
    table = load_table("1")
    assert "TPGM repository" in table.source and set(table.targets) == {"vanilla", "TPGM"}
    mean = "OOD mean without quickdraw"
    assert table.means == load_table("10").means == {mean: ("sketch", "painting", "infograph", "clipart")}
    for values in table.targets.values():
        assert set(values) == {"real", *table.means[mean], mean}
        assert sum(values[domain] for domain in table.means[mean]) / 4 == pytest.approx(values[mean], abs=0.006)
    assert not load_table("10").targets


def test_domainnet_selects_clip_by_default():
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


VQA = {"vqav2": "Answer", "domainnet_ovqa": "Short answer"}


@pytest.mark.parametrize("dataset", VQA)
@pytest.mark.parametrize("backbone", [None, "llava_7b"])
def test_the_vqa_recipe_is_the_papers(dataset, backbone):
    """Tables 2, 3, 8, 9. We read the paper's batch of 128, 16 on each of 8 devices, as that before accumulation."""
    cfg = compose([f"dataset={dataset}", "optim=digrap", *([f"backbone={backbone}"] if backbone else [])])
    base, trainer, schedule, peft = cfg.trainer.base, cfg.trainer, cfg.schedule, cfg.peft
    assert (base.name, base.lr, base.weight_decay, trainer.epochs) == ("adamw", 1e-3, 1e-4, 10)
    assert (schedule["_target_"].rpartition(".")[2], schedule.warmup_steps) == ("lavis", 1000)
    assert schedule.warmup_lr == schedule.min_lr == 1e-4
    assert trainer.micro_batch * 8 == 128 and trainer.batch_size == 128 * schedule.accumulation == 128 * 2
    assert (peft.name, peft.r, peft.alpha, peft.dropout, peft.targets) == ("lora", 8, 16, 0.05, "authors")
    model = cfg.backbone
    assert (model.name, model.dtype) == (backbone or "paligemma_3b", "bf16")
    assert trainer.decoding == "card" and DECODINGS["card"] == {"beams": 5, "max_new_tokens": 10}
    assert (model.prompt, model.train_prompt) == (f"Question: {{question}} {VQA[dataset]}:", "{question}")


@pytest.mark.slow
@pytest.mark.parametrize("dataset", VQA)
def test_wise_ft_tests_one_point_on_the_real_vqa_sets_unless_more_are_asked_for(dataset):
    """A point costs a test of all splits, in beams of five by a model of 3 B parameters."""
    optim = ["optim=wise_ft", f"dataset={dataset}"]
    assert compose(optim).optim.curve == compose(optim).optim.after_fit.curve == [0.5]
    assert compose([*optim, "optim.curve=[0,0.5,1]"]).optim.after_fit.curve == [0, 0.5, 1]
    assert compose(["optim=wise_ft", "dataset=minivqa"]).optim.curve == [k / 10 for k in range(11)]
    assert (
        run_hash(compose(optim))
        == run_hash(compose([*optim, "optim.curve=[0.5]"]))
        != run_hash(compose([*optim, "optim.curve=[0,0.5,1]"]))
    )


def test_checkpoints_are_pinned_and_others_are_two_options():
    pali, llava = compose(["dataset=vqav2"]).backbone, compose(["dataset=vqav2", "backbone=llava_7b"]).backbone
    assert (pali.model, llava.model) == ("google/paligemma-3b-pt-224", "llava-hf/llava-1.5-7b-hf")
    assert all(len(backbone.revision) == 40 for backbone in (pali, llava))
    other = ["backbone.model=google/paligemma-3b-mix-448", "backbone.revision=main"]
    assert compose(["dataset=vqav2", *other]).backbone.revision == "main"


VQA_ROWS = ["zero-shot", "vanilla", "full FT", "LP", "LP-FT", "WiSE-FT", "L2-SP", "FTP", "SPD", "DiGraP", "DiGraP + λ"]
VQA_TABLES = {
    "2": ("domainnet_ovqa", "paligemma_3b", [None]),
    "3": ("vqav2", "paligemma_3b", ["protocol paper", "protocol clean"]),
    "8": ("vqav2", "llava_7b", ["card", "snapshot"]),
    "9": ("domainnet_ovqa", "llava_7b", ["card", "snapshot"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VQA_TABLES)
def test_the_vqa_tables_have_the_cards_recipe_and_llavas_the_authors_too(name):
    table, (dataset, backbone, blocks) = load_table(name), VQA_TABLES[name]
    assert [(row.block, label) for label, row in table.rows.items()] == [
        (block, f"{label} ({block})" if block else label) for block in blocks for label in VQA_ROWS
    ]
    assert table.baseline == "vanilla" and not table.targets
    assert min(table.seeds) >= 100 and len(table.seeds) == 3 and table.search.seeds == (100,)
    for row in table.rows.values():
        cfg = table.cell(row.label, 100, row.choices()[-1]).config
        base, trainer, schedule, peft = cfg.trainer.base, cfg.trainer, cfg.schedule, cfg.peft
        assert (cfg.dataset.name, cfg.backbone.name) == (dataset, backbone)
        assert (base.name, trainer.epochs, schedule.accumulation) == ("adamw", 10, 2)
        assert trainer.loss_on == ("all" if row.block == "snapshot" else "answer")
        if dataset == "domainnet_ovqa":
            assert (cfg.dataset.task, cfg.dataset.select_by) == ("naming", "ClipM1")
        else:
            assert cfg.dataset.protocol == ("clean" if row.block == "protocol clean" else "paper")
        if row.label.startswith("full FT"):
            assert peft.name == "none" and schedule.min_lr == schedule.warmup_lr < min(grid(row)["trainer.base.lr"])
            continue
        searched = "trainer.base.lr" in row.grid
        if row.block == "snapshot":
            assert (peft.r, list(peft.targets)) == (4, ["q_proj", "v_proj"])
            assert (base.weight_decay, schedule.warmup_lr, schedule.min_lr) == (1e-5, 1e-5, 1e-5)
            assert (trainer.micro_batch, trainer.batch_size) == (6, 6 * 8 * 2) and (searched or base.lr == 1e-4)
            continue
        assert (base.weight_decay, trainer.micro_batch, trainer.batch_size) == (1e-4, 16, 16 * 8 * 2)
        assert (peft.r, peft.targets, schedule.warmup_lr, schedule.min_lr) == (8, "authors", 1e-4, 1e-4)
        assert searched or base.lr == 1e-3


def test_table_3_is_of_the_same_runs_on_eight_gpus():
    """docs/vlm.md: 16 questions a GPU, twice accumulated."""
    one, eight = (load_table("3", extra=extra).cell("DiGraP (protocol paper)", 100, ("optim.mu=0.1",)).config
                  for extra in ((), ("trainer.devices=8",)))  # fmt: skip
    assert (one.trainer.devices, eight.trainer.devices) == (1, 8) and run_hash(one) == run_hash(eight)
    assert micro_batch(eight.trainer, 8) == 16 and eight.trainer.batch_size == 16 * 8 * 2


@pytest.mark.parametrize("name", VQA_TABLES)
def test_grids_of_the_vqa_tables(name):
    table = load_table(name)
    for label, row in table.rows.items():
        plain = label.partition(" (")[0]
        if plain == "DiGraP":
            assert grid(row) == {"optim.mu": {0.01, 0.1, 0.5, 1, 10}}
        elif plain == "FTP":
            assert grid(row) == {"optim.k": {0, 0.5, 1}}
        elif plain == "WiSE-FT":
            assert row.start == table.baseline_of(label)
        elif plain == "vanilla":
            assert not row.grid
    with_lam = load_table("2").rows["DiGraP + λ"]  # the card has one λ, for this table
    assert "optim.lam=0.5" in with_lam.overrides and grid(with_lam) == {"optim.mu": {0.01, 0.1, 0.5, 1, 10}}


def test_table_4b_is_digrap_at_the_papers_five_mu():
    table = load_table("4b")
    cells = [table.cell(label, 100).config for label in table.rows if label != "vanilla"]
    assert [cfg.optim.mu for cfg in cells] == [0.01, 0.1, 0.5, 1, 10]
    assert {(cfg.optim.name, cfg.dataset.name, cfg.dataset.protocol) for cfg in cells} == {("digrap", "vqav2", "paper")}
