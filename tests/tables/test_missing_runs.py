"""A table's runs, stage by stage, on synthetic run folders; nothing is trained here."""

import pytest
from omegaconf import OmegaConf

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.core.files import write_text
from digrap.report import scores
from digrap.runs.folder import RunFolder, Validation
from digrap.tables import cost, spec
from digrap.tables.missing_runs import Plan, Stages, as_start, choose
from digrap.tables.winners import as_config, write_winners
from tests.synthetic_runs import result

ROWS = """
title: t
overrides: [dataset=minidomainnet]
seeds: [0, 1]
search: {seeds: %s, rule: best}
baseline: vanilla
rows:
  zero-shot: [optim=zero_shot]
  vanilla: {overrides: [optim=vanilla], grid: {trainer.base.lr: [3e-4, 1e-3]}}
  LP-FT: {overrides: [optim=lp_ft], start: LP, grid: {trainer.base.lr: [1e-3, 1e-4]}}
  LP: {overrides: [optim=lp, trainer.epochs=3], grid: {trainer.base.lr: [1e-3, 1e-2]}}
  WiSE-FT: {overrides: [optim=wise_ft], start: vanilla}
"""


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Text → a table of the name t."""
    (tmp_path / "configs" / "tables").mkdir(parents=True)
    monkeypatch.setattr(spec, "CONFIGS", tmp_path / "configs")

    def make(text, **options):
        write_text(tmp_path / "configs" / "tables" / "t.yaml", text)
        return spec.load_table("t", **options)

    return make


@pytest.fixture
def outputs(tmp_path):
    return tmp_path / "outputs"


def finish(cell, outputs, score, ood=10.0):
    """A run's results: its validation score, and OOD scores that selection must not see."""
    scores = {"real_val": ("id_val", 5000, score)} | dict.fromkeys(("sketch", "clipart"), ("near_ood", 1500, ood))
    folder = RunFolder(cell.folder(outputs))
    folder.write_results(result(scores, cell.seed, method=cell.config.optim.name))
    folder.write_facts({"wall_s": 20.0})
    write_text(folder.config_file, "trainer: {epochs: 5}\n")


def made(cells):
    """Cells as row, seed and what was chosen, for comparison."""
    return [
        (cell.row, cell.seed, " ".join(o for o in cell.overrides[2:] if not o.startswith("seed="))) for cell in cells
    ]


def test_stages_search_then_seeds_then_what_goes_on(tables, outputs):
    plan = Plan(tables(ROWS % "[0]"), outputs)
    seen = []
    for batch in Stages(plan):
        seen.append(made(batch))
        for cell in batch:
            lr = cell.config.trainer.base.lr
            finish(cell, outputs, score=70 + 1000 * lr, ood=90 - 5000 * lr)
    lr, start = "trainer.base.lr=", "++optim.start.trainer."
    lp = f"optim.start.optim=lp {start}epochs=3 {start}base.lr=0.01"
    assert seen == [
        [
            ("vanilla", 0, f"{lr}0.0003"), ("vanilla", 0, f"{lr}0.001"),
            ("LP", 0, f"trainer.epochs=3 {lr}0.001"), ("LP", 0, f"trainer.epochs=3 {lr}0.01"),
            ("zero-shot", 0, ""), ("zero-shot", 1, ""),
        ],
        [
            ("LP-FT", 0, f"{lp} {lr}0.001"), ("LP-FT", 0, f"{lp} {lr}0.0001"),
            ("vanilla", 1, f"{lr}0.001"), ("LP", 1, f"trainer.epochs=3 {lr}0.01"),
            ("WiSE-FT", 0, f"optim.start.optim=vanilla {start}base.lr=0.001"),
        ],
        [
            ("LP-FT", 1, f"{lp} {lr}0.001"),
            ("WiSE-FT", 1, f"optim.start.optim=vanilla {start}base.lr=0.001"),
        ],
    ]  # fmt: skip
    finals = {(row.label, seed): cell for row, seed, cell in plan.finals()}
    assert all(plan.done(cell) for cell in finals.values()) and len(finals) == 10
    # The runs that others go on from are the table's own.
    assert finals["WiSE-FT", 1].start_place == finals["vanilla", 1].place
    assert finals["LP-FT", 0].start_place == finals["LP", 0].place


def test_every_seed_searches_for_itself(tables, outputs):
    plan = Plan(tables(ROWS % "each"), outputs)
    for batch in Stages(plan):
        for cell in batch:
            better = 3e-4 if cell.seed else 1e-3
            finish(cell, outputs, score=80 if cell.config.trainer.base.lr == better else 70)
    winners = {seed: plan.winner(plan.table.rows["vanilla"], seed) for seed in (0, 1)}
    assert winners == {0: ("trainer.base.lr=0.001",), 1: ("trainer.base.lr=0.0003",)}
    assert plan.final(plan.table.rows["WiSE-FT"], 1).start_place == plan.final(plan.table.rows["vanilla"], 1).place


def test_an_interrupted_search_goes_on(tables, outputs):
    """Only what is missing is offered; a winner needs the whole grid."""
    table = tables(ROWS % "[0]")
    first = Plan(table, outputs).ready()
    finish(first[1], outputs, 75.0)
    plan = Plan(table, outputs)
    assert made(plan.ready()) == made(cell for cell in first if cell is not first[1])
    assert plan.winner(table.rows["vanilla"], 0) is None and plan.final(table.rows["WiSE-FT"], 0) is None


def test_a_failed_run_is_not_offered_again_and_a_busy_one_is(tables, outputs):
    stages = Stages(Plan(tables(ROWS % "[0]"), outputs))
    walk = iter(stages)
    first = next(walk)
    for cell in first[1:]:
        finish(cell, outputs, 70.0)
    second = next(walk)
    assert first[0].place not in {cell.place for cell in second}
    stages.again(first[0])
    assert first[0].place in {cell.place for cell in next(walk)}


def test_ood_scores_cannot_reach_selection(tables, outputs):
    """What selection is handed holds nothing but validation, and any OOD scores give the same winner."""
    assert set(Validation.__dataclass_fields__) == {"score", "n"}
    table, winners = tables(ROWS % "[0]"), []
    for k, ood in enumerate(({1e-3: 99.0, 3e-4: 0.0}, {1e-3: 0.0, 3e-4: 99.0})):
        place = outputs / str(k)
        plan = Plan(table, place)
        for cell in plan.search_cells(table.rows["vanilla"], 0):
            lr = cell.config.trainer.base.lr
            finish(cell, place, 80.0 if lr == 3e-4 else 79.0, ood[lr])
        winners.append(plan.winner(table.rows["vanilla"], 0))
        assert RunFolder(plan.final(table.rows["vanilla"], 0).folder(place)).validation() == Validation(80.0, 5000)
    assert winners == [("trainer.base.lr=0.0003",)] * 2


def test_choosing():
    def runs(*scores, n=10_000):
        return [Validation(score, n) for score in scores]

    assert choose([runs(70.0), runs(80.0), runs(80.0)], "best") == 1  # the first of equals
    assert choose([runs(70, 90), runs(81, 81)], "best") == 1
    # One seed: the binomial standard error at 80 % of 10,000 is 0.4.
    assert choose([runs(79.5), runs(79.7), runs(80.0)], "one_std_error") == 1
    # Two seeds: 80 ± 1.
    assert choose([runs(78.9, 78.9), runs(79.1, 79.1), runs(79, 81)], "one_std_error") == 1


def test_a_rows_overrides_as_a_start():
    assert as_start(("optim=lp", "trainer.base.lr=0.01")) == (
        "optim.start.optim=lp", "++optim.start.trainer.base.lr=0.01"
    )  # fmt: skip
    assert as_start(("optim=spd", "optim.strength=2", "+trainer.epochs=3")) == (
        "optim.start.optim={name: spd, strength: 2}", "++optim.start.trainer.epochs=3",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["vanilla", "LP-FT", "WiSE-FT", "zero-shot"])
@pytest.mark.parametrize("seeds", ["[0]", "each"])
def test_a_winners_file_composes_to_its_run(tables, outputs, tmp_path, name, seeds):
    plan = Plan(tables(ROWS % seeds), outputs)
    for batch in Stages(plan):
        for cell in batch:
            finish(cell, outputs, 70 + 1000 * cell.config.trainer.base.lr)
    written = write_winners(plan, tmp_path / "best")
    assert {path.stem for path in written} == {"zero_shot", "vanilla", "lp_ft", "lp", "wise_ft"}
    assert write_winners(plan, tmp_path / "best") == []
    row = plan.table.rows[name]
    cell = plan.final(row, 1)
    text = as_config(plan, row, row.slug, cell)
    assert text.startswith("# @package _global_\n") and f"python train.py best=t/{row.slug} seed=1" in text
    loaded = OmegaConf.to_container(OmegaConf.create(text))
    groups = [f"{key.removeprefix('override /')}={value}" for entry in loaded.pop("defaults")[:-1]
              for key, value in entry.items()]  # fmt: skip
    cfg = OmegaConf.merge(compose([*groups, "seed=1"]), loaded)
    assert f"minidomainnet/{run_hash(compose([*groups, 'seed=1']) if not loaded else _recomposed(groups, loaded))}" == (
        cell.place
    ), cfg


def _recomposed(groups, values):
    """As Hydra does it: the values before references are followed."""

    def flat(node, prefix=""):
        for key, value in node.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield f"++{prefix}{key}={value}"

    return compose([*groups, *flat(values), "seed=1"])


def test_a_changed_winner_rewrites_its_file_only(tables, outputs, tmp_path):
    plan = Plan(tables(ROWS % "[0]"), outputs)
    for cell in plan.search_cells(plan.table.rows["vanilla"], 0):
        finish(cell, outputs, 70 + 1000 * cell.config.trainer.base.lr)
    first = write_winners(plan, tmp_path)
    assert [path.name for path in first] == ["vanilla.yaml"]
    for cell in plan.search_cells(plan.table.rows["vanilla"], 0):
        finish(cell, outputs, 70 - 1000 * cell.config.trainer.base.lr)
    assert [path.name for path in write_winners(plan, tmp_path)] == ["vanilla.yaml"]


def test_a_row_without_a_search_has_a_winners_file_once_it_was_run(tables, outputs, tmp_path):
    plan = Plan(tables(ROWS % "[0]"), outputs)
    assert write_winners(plan, tmp_path) == [], "nothing has run"
    finish(plan.final(plan.table.rows["zero-shot"], plan.table.seeds[-1]), outputs, 50.0)
    assert write_winners(plan, tmp_path) == []
    finish(plan.final(plan.table.rows["zero-shot"], plan.table.seeds[0]), outputs, 50.0)
    (path,) = write_winners(plan, tmp_path)
    assert path.name == "zero_shot.yaml" and "its only choice; validation 50.00 % with seed 0." in path.read_text()


def test_dry_run_says_what_waits_and_what_it_costs(tables, outputs):
    table = tables(ROWS % "[0]")
    plan = Plan(table, outputs)
    text = cost.dry_run(plan)
    assert "0 of the 6 runs known so far are done" in text
    unmeasured = "Cost of the 6 missing runs: not measured, because no run of their kind has finished in"
    assert f"{unmeasured} {outputs} yet." in text
    told = "8 more cells depend on unfinished searches and are not counted yet"
    assert f"{told} (2 of them will reuse runs of their search):\n" in text and "\n  WiSE-FT: " in text
    finish(plan.ready()[0], outputs, 70.0)
    text = cost.dry_run(plan)
    # 3 runs: one of the table's 10 epochs where 5 took 20 s, two of 3 epochs; what zero-shot costs is not known.
    assert "1 of the 6 runs" in text and "1.1 minutes one after another" in text
    assert "2 more are of kinds not measured yet" in text
    assert "~40 s  minidomainnet/" in text and "~12 s  minidomainnet/" in text and "    done  minidomainnet/" in text
    assert "GPU hours" not in text


def test_gpu_hours_count_every_gpu(tables, outputs):
    """Of runs that were made on four GPUs; the hours one after the other are as before."""
    plan = Plan(tables(ROWS % "[0]"), outputs)
    finish(cell := plan.ready()[0], outputs, 70.0)
    folder = RunFolder(cell.folder(outputs))
    folder.write_facts({"wall_s": 20 * 3600.0, "processes": 4})
    file = folder.path / "results.json"
    file.write_text(file.read_text().replace('"device": "cpu"', '"device": "NVIDIA H100 80GB HBM3"'))
    text = cost.dry_run(plan)
    hours, gpu_hours = (float(text.split(word)[0].split()[-1]) for word in (" hours one after", " GPU hours, "))
    assert gpu_hours == pytest.approx(4 * hours, abs=0.3) and hours == 64


def test_damaged_results_are_named(tables, outputs):
    plan = Plan(tables(ROWS % "[0]"), outputs)
    cell = plan.ready()[0]
    write_text(cell.folder(outputs) / "results.json", '{"schema": 1}')
    with pytest.raises(DigrapError, match="results.json is damaged"):
        plan.winner(plan.table.rows["vanilla"], 0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rule: best", "rule: bets", "search.rule=bets; nearest: best"),
        ("start: LP,", "start: LQ,", "start: 'LQ' is no row; nearest: LP"),
        ("start: vanilla", "start: LP-FT", "'LP-FT' has a start itself"),
        ("grid: {trainer.base.lr: [3e-4, 1e-3]}", "grid: {trainer.base.lr: 3e-4}", "must be a list of values"),
        ("grid: {trainer.base.lr: [3e-4, 1e-3]}", "grids: {}", "unknown key 'rows.vanilla.grids'; nearest: grid"),
        ("{seeds: [0]", "{seeds: 0", "give a list of seeds, or `each`"),
        ("title: t", "title: t\ntargets: {values: {vanilla: {real: 1}}}", "targets need a source"),
        ("title: t", "title: t\ntargets: {source: s, values: {vanila: {real: 1}}}", "'vanila' is no row"),
    ],
)
def test_a_bad_table_is_named(tables, old, new, message):
    assert old in ROWS % "[0]"
    with pytest.raises(DigrapError, match=message):
        tables((ROWS % "[0]").replace(old, new))


def test_a_tables_own_means(tables):
    table = tables(ROWS % "[0]" + "means: {two: [clipart, sketch]}\n")
    assert table.means == {"two": ("clipart", "sketch")}
    own = scores._own_means(table, {"real": "id_test", "clipart": "near_ood", "sketch": "near_ood"})
    assert own == {"two": ["clipart", "sketch"]}
    with pytest.raises(DigrapError, match="means.two: no split 'clipart'; nearest: clip"):
        scores._own_means(table, {"clip": "near_ood", "sketch": "near_ood"})
