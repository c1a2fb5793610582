"""What a run is taken to cost: that of finished runs that train the same part of the same model."""

import pytest
from omegaconf import OmegaConf

from digrap.core.files import write_text
from digrap.runs.folder import RunFolder
from digrap.tables import cost
from digrap.tables.spec import load_table
from tests.synthetic_runs import result


@pytest.fixture(scope="module")
def table():
    return load_table("4b", seeds=[100])


def finish(cell, outputs, seconds, **changes):
    """A run of the cell that took so long."""
    folder = RunFolder(cell.folder(outputs))
    names = {"dataset": cell.config.dataset.name, "backbone": cell.config.backbone.name}
    folder.write_results(
        result({"real_val": ("id_val", 10, 50.0)}, 100, method=cell.config.optim.name, **names, **changes)
    )
    folder.write_facts({"wall_s": seconds, "processes": 2})
    write_text(folder.config_file, OmegaConf.to_yaml(cell.config, resolve=True))


def test_a_run_of_all_weights_is_not_of_the_kind_of_one_with_adapters(table, tmp_path):
    lora, other = table.cell("vanilla", 100), table.cell("µ = 1", 100)
    full = table.cell("vanilla", 100, ("peft=none",))
    finish(lora, tmp_path, 60.0)
    runs = cost.measured(tmp_path, ["vqav2"])
    assert [cost.typical(cell, runs)[0] for cell in (lora, other)] == [60.0, 60.0]
    assert cost.typical(full, runs) is None
    finish(full, tmp_path, 600.0)
    runs = cost.measured(tmp_path, ["vqav2"])
    assert [cost.typical(cell, runs)[0] for cell in (lora, other, full)] == [60.0, 60.0, 600.0]


def test_a_run_that_trains_does_not_cost_what_averaging_weights_does(table, tmp_path):
    for words in (["optim=zero_shot"], ["optim=wise_ft"]):
        finish(table.cell("vanilla", 100, tuple(words)), tmp_path, 1.0)
    runs = cost.measured(tmp_path, ["vqav2"])
    assert cost.typical(table.cell("µ = 1", 100), runs) is None
    finish(table.cell("vanilla", 100), tmp_path, 60.0)
    assert cost.typical(table.cell("µ = 1", 100), cost.measured(tmp_path, ["vqav2"]))[0] == 60.0
    assert cost.typical(table.cell("vanilla", 100, ("optim=wise_ft",)), runs)[0] == 1.0


@pytest.mark.parametrize(("device", "gpus"), [("cpu", 0), ("cpu:0", 0), ("mps", 0), ("NVIDIA H100 80GB HBM3", 2)])
def test_processes_on_a_cpu_are_no_gpus(table, tmp_path, device, gpus):
    cell = table.cell("vanilla", 100)
    finish(cell, tmp_path, 60.0, device=device)
    assert cost.typical(cell, cost.measured(tmp_path, ["vqav2"]))[2] == 60.0 * gpus
