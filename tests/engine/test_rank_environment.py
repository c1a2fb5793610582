"""What ranks learn from their environment: srun's variables as torchrun's, and what contradicts them."""

import pytest

from digrap.core.errors import DigrapError
from digrap.engine import ranks

STEP = {
    "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "3", "SLURM_LOCALID": "1",
    "SLURM_JOB_ID": "30007", "SLURM_STEP_ID": "2", "SLURM_STEP_NODELIST": "nowhere-[0-1]",
    "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1",
}  # fmt: skip
NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture
def env(monkeypatch):
    """The environment as a dict that is put back, first without ranks."""
    import os

    clean = {key: value for key, value in os.environ.items() if key not in NAMES and not key.startswith("SLURM_")}
    clean.pop("CUDA_VISIBLE_DEVICES", None)
    monkeypatch.setattr(os, "environ", clean)
    return clean


def test_a_task_of_srun_gets_its_rank(env):
    env |= STEP
    ranks.join_slurm_step()
    port = str(20000 + (31 * 30007 + 2) % 20000)
    assert [env[name] for name in NAMES] == ["3", "4", "1", "2", "127.0.0.1", port]
    assert (ranks.rank(), ranks.world()) == (3, 4) and ranks.given()


def test_a_task_that_sees_its_own_gpu_alone(env):
    env |= {**STEP, "CUDA_VISIBLE_DEVICES": "2"}
    ranks.join_slurm_step()
    assert env["LOCAL_RANK"] == "0"


@pytest.mark.parametrize(
    "other",
    [
        {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"},  # a batch script's shell
        {**STEP, "SLURM_STEP_NUM_TASKS": "1"},
        {**STEP, "RANK": "1", "WORLD_SIZE": "2"},  # torchrun within a task
    ],
)
def test_what_is_no_task_of_several_is_left_alone(env, other):
    env |= other
    before = dict(env)
    ranks.join_slurm_step()
    assert env == before


def test_devices_that_contradict_the_ranks(env):
    env |= {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    for devices in (1, 2, 4):
        ranks.check_devices(devices)
    with pytest.raises(DigrapError, match=r"trainer.devices=3: 4 processes were started for this run"):
        ranks.check_devices(3)
    for name in NAMES:
        env.pop(name, None)
    with pytest.raises(DigrapError, match=r"trainer.devices=3: start the run by `python train.py`"):
        ranks.check_devices(3)


@pytest.mark.parametrize(
    "given", [{"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, {**STEP, "SLURM_PROCID": "0"}]
)
def test_a_sweep_is_refused_once(env, given):
    ranks.check_no_sweep(["-m", "seed=1,2"])
    env |= given
    count = given.get("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(DigrapError, match=rf"python train.py -m 'dataset.root=/a b' trainer.devices={count}$"):
        ranks.check_no_sweep(["-m", "dataset.root=/a b"])
    env |= {"RANK": "1"} if "RANK" in given else {"SLURM_PROCID": "1"}
    with pytest.raises(SystemExit, match="2"):
        ranks.check_no_sweep(["-m"])
