"""Every value of a results.json, variants.json and run.json of a wrong type is named, not met later."""

import copy
import json

import pytest
from omegaconf import OmegaConf

from digrap.core.errors import DigrapError
from digrap.runs.folder import RunFolder
from digrap.runs.results import Results
from tests.synthetic_runs import result

GOOD = result(
    {"real_val": ("id_val", 50, 60.0), "real": ("id_test", 100, 70.0)}, seed=3, caveats=["small"], protocol="paper",
    start={"method": "lp", "hash": "0" * 10}, weights="checkpoints/best.safetensors",
    variants={"0.5": {"real": {"kind": "id_test", "n": 100, "accuracy": 70.0}}},
)  # fmt: skip


def changed(key, value):
    """GOOD with the value of a dotted key changed; the value `...` removes it."""
    plain = copy.deepcopy(GOOD)
    *groups, last = key.split("/")
    inner = plain
    for group in groups:
        inner = inner[group]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return plain


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hash", "../../x"), ("hash", 3), ("dataset", None), ("backbone", []), ("method", {}), ("metric", None),
        ("seed", "0"), ("seed", True), ("seed", -1), ("weights", 3), ("weights_sha256", 3), ("commit", None),
        ("dirty", "no"), ("device", 0), ("versions", []), ("versions", {"torch": 2}), ("protocol", []),
        ("measured", 3),
        ("selection", []), ("selection", "real_val"), ("selection/score", "60"), ("selection/score", None),
        ("selection/score", True), ("selection/split", 3), ("selection/split", ...), ("selection/split", "gone"),
        ("selection/epoch", "1"), ("selection/epoch", ...), ("scores", []), ("scores", {}), ("scores/real", 70.0),
        ("scores/real/n", None), ("scores/real/n", 1.5), ("scores/real/n", ...), ("scores/real/kind", 1),
        ("scores/real/accuracy", None), ("scores/real/accuracy", "70"), ("scores/real/accuracy", float("nan")),
        ("start", "lp"), ("start", []), ("start/hash", "/etc"), ("start/method", ...), ("caveats", 3),
        ("caveats", "small"), ("caveats", [3]), ("variants", []), ("variants/0.5", 1), ("variants/0.5/real", []),
        ("variants/0.5/real/accuracy", "70"), ("variants/0.5/real/kind", ...),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(tmp_path, key, value):
    file = tmp_path / "results.json"
    file.write_text(json.dumps(changed(key, value)))
    dotted = key.replace("/", ".")
    for read in (RunFolder(tmp_path).results, RunFolder(tmp_path).finished, RunFolder(tmp_path).validation):
        with pytest.raises(DigrapError) as error:
            read()
        text = str(error.value)
        assert dotted in text or (key == "scores" and "selection.split" in text)
        assert text.startswith(f"{file} is damaged (") and text.endswith("run the same train.py command again")


def test_good_values_are_taken(tmp_path):
    assert Results.parse(GOOD, tmp_path).start == {"method": "lp", "hash": "0" * 10}
    for key, value in (("dirty", None), ("weights", None), ("start", None), ("caveats", ...), ("variants", ...),
                       ("selection/epoch", None), ("scores/real/n", 0), ("scores/real/accuracy", 70)):  # fmt: skip
        assert Results.parse(changed(key, value), tmp_path).hash == "0" * 10


@pytest.mark.parametrize("value", [[], None, 3, {"0.5": 3}, {"0.5": {"real": 3}}, {"0.5": {"real": {"kind": "a"}}}])
def test_wrong_variants_are_named(tmp_path, value):
    (tmp_path / "variants.json").write_text(json.dumps(value))
    with pytest.raises(DigrapError, match=r"variants.json is damaged \(.*delete it, and the same train.py command"):
        RunFolder(tmp_path).variants()
    (tmp_path / "variants.json").unlink()
    assert RunFolder(tmp_path).variants() == {}


def test_numbers_of_run_json_are_numbers(tmp_path):
    (tmp_path / "run.json").write_text('{"wall_s": "x", "total_steps": [], "trained_per_s": 2, "host": "a"}')
    assert RunFolder(tmp_path).facts() == {"trained_per_s": 2, "host": "a"}


@pytest.mark.parametrize("record", [{}, {"step": 1}, {"step": "1", "epoch": 1}, {"step": 1, "epoch": None}])
def test_a_last_record_is_whole(tmp_path, record):
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"event": "train", **record}) + "\n")
    assert RunFolder(tmp_path).last_record("train") is None


def test_a_config_is_one_message(tmp_path):
    run = RunFolder(tmp_path)
    run.write_config(OmegaConf.create({}))
    run.config_file.write_bytes(b"\x80\x81")
    with pytest.raises(DigrapError, match="config.yaml is damaged .*delete it and run the same train.py command again"):
        run.config()
