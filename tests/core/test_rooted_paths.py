"""Data and outputs lie in the project, whatever the working directory; a path that is typed begins there."""

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from digrap.config.compose import compose, register_resolvers
from digrap.config.identity import run_hash
from digrap.core.paths import CONFIGS, DATA, OUTPUTS, REPO, data_root_option, places


def folders_of(*words):
    """What Hydra would take as the folder of a run, and of a sweep's runs."""
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = hydra_compose("train", overrides=list(words), return_hydra_config=True)
    return [OmegaConf.select(cfg, key) for key in ("hydra.run.dir", "hydra.sweep.dir")]


def test_a_run_lies_in_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = run_hash(compose([]))
    assert folders_of() == [f"{OUTPUTS}/minidomainnet/{name}", f"{OUTPUTS}/minidomainnet"]
    assert folders_of("outputs=mine") == [f"mine/minidomainnet/{name}", "mine/minidomainnet"]


def test_the_place_of_the_data_is_not_in_the_hash():
    assert compose([]).data_root == str(DATA)
    for dataset in ("minidomainnet", "domainnet", "minivqa"):
        words = [f"dataset={dataset}"]
        hashes = {run_hash(compose([*words, *root])) for root in ([], ["data_root=data"], ["data_root=/elsewhere/d"])}
        assert len(hashes) == 1
    assert run_hash(compose([])) == run_hash(compose(["outputs=/elsewhere"]))


def test_what_is_shipped_is_the_repositorys():
    names = places(str(DATA), "<data>", "<repo>")
    found = {path: next(name for folder, name in names if path.startswith(folder)) for path in (
        f"{DATA}/mini/a", f"{DATA}/domainnet", f"{REPO}/examples")}  # fmt: skip
    assert list(found.values()) == ["<repo>/data/mini", "<data>", "<repo>"]


def test_an_advised_command_names_another_data_root_alone(tmp_path):
    assert data_root_option(DATA) == [] and data_root_option(tmp_path) == [f"data_root={tmp_path}"]
