"""Pictures for the page: read where the data are there and are those of the test; never drawn."""

import io
import shlex

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from digrap.cli.page_pictures import Pictures
from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.data.mini import vqa
from digrap.engine.build import build_data
from digrap.report.gather import load_run
from digrap.runs.predictions import write_bundle
from tests.synthetic_runs import SPLITS, result, script


def finished_run(cfg, folder, truth, answers):
    """A run folder whose predictions of sketch are given."""
    folder.mkdir(parents=True)
    write_bundle(folder / "predictions.npz", {"sketch": {"prediction": answers}}, {"sketch": truth})
    scores = dict.fromkeys(("real_val", *SPLITS), ("id_val", 45, 0.0))
    write_json(folder / "results.json", result(scores, 0, folder.name))
    OmegaConf.save(cfg, folder / "config.yaml")
    return load_run(folder)


def test_pictures_of_the_miniature(small, tmp_path, monkeypatch):
    elsewhere = build_data(small(f"data_root={tmp_path / 'elsewhere'}"))
    labels = elsewhere.splits["sketch"].load().labels.numpy()
    cfg = small(f"data_root={tmp_path / 'data'}")
    run = finished_run(cfg, tmp_path / "outputs" / "0123456789", {"label": labels}, (labels + 1) % 45)
    with pytest.raises(DigrapError, match=r"sketch-sketch-45.safetensors does not exist; python .*show.* draws it"):
        Pictures().examples(run, "sketch", [3])
    assert not (tmp_path / "data").exists()
    with pytest.raises(DigrapError) as error:
        Pictures().examples(run, "sketch", [3])
    command = str(error.value).removesuffix(" draws it").partition("; python ")[2]
    assert f"dataset.root={tmp_path / 'data' / 'minidomainnet'} dataset.splits.real_train.size=192" in command
    monkeypatch.setattr("sys.argv", [*shlex.split(command), f"out={tmp_path / 'sheet.png'}", "examples=1"])
    script("show_dataset").main()
    (example,) = Pictures().examples(run, "sketch", [3])
    assert example.kind == "png" and Image.open(io.BytesIO(example.picture)).size == (32, 32)
    assert example.truth == elsewhere.classes[labels[3]] and example.question is None
    assert Pictures().answer(run, "sketch", 3) == elsewhere.classes[(labels[3] + 1) % 45]
    with pytest.raises(DigrapError, match="no split 'nope' now"):
        Pictures().examples(run, "nope", [3])
    other = finished_run(cfg, tmp_path / "outputs" / "0123456780", {"label": (labels + 1) % 45}, labels)
    with pytest.raises(DigrapError, match="has changed since the run was tested"):
        Pictures().examples(other, "sketch", [3])


def test_a_config_that_calls_unknown_code_is_not_followed(small, tmp_path):
    cfg = small(f"data_root={tmp_path / 'data'}")
    cfg.dataset._target_ = "os.system"
    labels = np.zeros(45, int)
    run = finished_run(cfg, tmp_path / "outputs" / "0123456789", {"label": labels}, labels)
    with pytest.raises(DigrapError, match="os.system is not among what this repository calls there"):
        Pictures().examples(run, "sketch", [0])


@pytest.mark.slow
def test_the_questions_of_a_folder_that_is_there(tmp_path):
    splits = {"val": {"set": "vqav2", "kind": "id_val"}, "cp": {"set": "vqa_cp", "kind": "near_ood"}}
    splits = {"train": {"set": "vqav2", "kind": "id_train"}, **splits}
    options = {"seed": 0, "splits": splits, "sizes": dict.fromkeys(["train", "val", "iv_vqa", "cv_vqa"], 40)}
    with pytest.raises(DigrapError, match="seed0[^;]* does not exist; make it so makes it"):
        vqa.kept(tmp_path / "minivqa", **options, command="make it so")
    assert not (tmp_path / "minivqa").exists()
    made = vqa.build(tmp_path / "minivqa", **options).splits["cp"].load()
    assert vqa.kept(tmp_path / "minivqa", **options, command="").splits["cp"].load().ids == made.ids
