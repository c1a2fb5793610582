"""The settings of a cluster: their checks, and that no run depends on them."""

import pytest
import yaml
from omegaconf import OmegaConf

from digrap.config.cluster import Cluster, cluster_of, sbatch_lines
from digrap.config.compose import compose, compose_cluster
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.core.paths import CONFIGS


def test_the_example_sets_what_sbatch_is_told():
    options = compose_cluster(["cluster=example"]).options()
    assert options["partition"] == "gpu" and options["gpus-per-node"] == options["ntasks-per-node"] == 1
    lines = sbatch_lines(options)
    assert {"#SBATCH --requeue", "#SBATCH --signal=USR2@120", "#SBATCH --open-mode=append"} <= set(lines)
    assert {"#SBATCH --mem=64GB", "#SBATCH --time=720", "#SBATCH --mail-user=me@example.org"} <= set(lines)


def settings(**keys):
    return cluster_of(OmegaConf.create({"cluster": keys}))


def test_what_is_left_out_is_the_clusters_own_choice():
    options = settings(gpus=None).options()
    assert options["ntasks-per-node"] == 1
    assert not {"partition", "account", "gpus-per-node", "mem", "mail-user", "mail-type"} & options.keys()


def test_further_options_and_quoting():
    cluster = settings(sbatch={"exclusive": True, "reservation": "my own"}, constraint="a100&nvlink", gpus=4)
    lines = sbatch_lines(cluster.options())
    assert "#SBATCH --exclusive" in lines and "#SBATCH --constraint='a100&nvlink'" in lines
    assert "#SBATCH --reservation='my own'" in lines
    assert "#SBATCH --ntasks-per-node=4" in lines and "#SBATCH --gpus-per-node=4" in lines


def test_the_base_file_has_every_key_at_its_default():
    plain = yaml.safe_load((CONFIGS / "cluster" / "_base.yaml").read_text())
    assert Cluster(**plain) == Cluster()


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"gpus": 0}, "cluster.gpus=0: give a whole number ≥ 1, or null for none"),
        ({"minutes": -5}, "cluster.minutes=-5: give a whole number ≥ 1"),
        ({"nodes": "two"}, "cluster.nodes: Value 'two'"),
        ({"gpu": 1}, "cluster.gpu: Key 'gpu' not in 'Cluster'; configs/cluster/_base.yaml has all keys"),
        ({"sbatch": {"array": "0-3"}}, "cluster.sbatch.array: "),
    ],
)
def test_bad_settings_are_named(keys, said):
    with pytest.raises(DigrapError) as error:
        settings(**keys)
    assert said in str(error.value)


def test_no_run_depends_on_the_cluster():
    plain = compose([])
    other = compose(["cluster=example", "cluster.nodes=2"])
    assert plain == other and run_hash(plain) == run_hash(other) and "cluster" not in other
