"""A broken picture is found before training starts, or left out and counted."""

import pytest

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.data.vqa.pictures import Questions
from digrap.engine import run as engine
from digrap.engine.fit import Fit
from digrap.runs.folder import RunFolder
from tests.data.test_headers import draw, noise
from tests.engine.runs import results


@pytest.fixture
def words(tmp_path):
    """Overrides of a run on pictures of which one in training and one in a test are broken."""
    root = tmp_path / "pictures"
    for split, count in (("train", 6), ("val", 3), ("test", 3), ("test_sketch", 3)):
        for label in ("cat", "dog"):
            for k in range(count):
                draw(root / split / label / f"{k}.png")
    for name in ("train/cat/2.png", "test_sketch/dog/1.png"):
        (root / name).write_bytes((root / name).read_bytes()[:200])
    return [
        "dataset=folder", f"dataset.root={root}", "dataset.near_ood=[sketch]", "backbone=timm",
        "backbone.model=test_resnet", "backbone.pretrained=false", "backbone.image_size=32", "trainer.epochs=1",
        "trainer.batch_size=4", "trainer.micro_batch=4", "trainer.workers=0", "trainer.threads=1", "device=cpu",
        f"data_root={tmp_path / 'data'}",
    ]  # fmt: skip


def test_it_is_found_before_training_starts(words, tmp_path, monkeypatch):
    monkeypatch.setattr(Fit, "run", lambda self: pytest.fail("trains"))
    with pytest.raises(DigrapError) as error:
        engine.run(compose(words), tmp_path / "run")
    assert str(error.value).startswith("2 pictures cannot be read; repair or remove them")
    assert all(name in str(error.value) for name in ("train/cat/2.png", "test_sketch/dog/1.png"))


def test_skipped_ones_are_counted_in_the_result(words, tmp_path):
    cfg = compose([*words, "dataset.on_broken=skip"])
    engine.run(cfg, tmp_path / "run")
    found = results(tmp_path / "run")
    assert found["skipped"] == {"train": 1, "sketch": 1} and found["scores"]["sketch"]["n"] == 5
    assert "1 of train, 1 of sketch" in found["caveats"][0]
    assert RunFolder(tmp_path / "run").facts()["pictures"]["train"] == {"files": 12, "moving": 0, "skipped": 1}
    assert run_hash(cfg) != run_hash(compose(words))
    noise().save(tmp_path / "pictures" / "train" / "cat" / "2.png")  # repaired since


def test_the_option_is_checked_and_changes_no_earlier_hash(words):
    with pytest.raises(DigrapError, match=r"dataset.on_broken=no is out of range; give error or skip"):
        compose([*words, "dataset.on_broken=no"])
    assert run_hash(compose(words)) == run_hash(compose([*words, "~dataset.on_broken"]))


def test_pictures_of_questions_and_of_lists_are_looked_at(tmp_path):
    from digrap.data.domainnet.dataset import ListedPictures
    from digrap.metrics.vqa.question import Question

    draw(tmp_path / "a.png")
    record = Question("1", "1", ("yes",), question="?", picture="a", image="a.png")
    assert Questions(tmp_path, [record]).files == ListedPictures(tmp_path, [("a.png", 0)]).files


def test_picture_files_for_the_backbone_of_the_miniature(words, tmp_path):
    own = [word for word in words if not word.startswith("backbone")]
    with pytest.raises(DigrapError, match="backbone=mini_resnet only takes the miniature's pictures"):
        engine.run(
            compose([*own, "backbone=mini_resnet", "backbone.pretrained=false", "dataset.on_broken=skip"]),
            tmp_path / "run",
        )


def test_too_large_a_batch_is_said_before_the_model_is_read(words, tmp_path, monkeypatch):
    monkeypatch.setattr("digrap.engine.job.build_backbone", lambda *_: pytest.fail("reads the model"))
    with pytest.raises(DigrapError, match="trainer.batch_size=64 is more than the 12 examples to train on"):
        engine.run(compose([*words, "trainer.batch_size=64"]), tmp_path / "run")


def test_that_is_said_before_anything_is_read(words, tmp_path, caplog):
    caplog.set_level("INFO")
    own = [word for word in words if not word.startswith("backbone")]
    with pytest.raises(DigrapError, match="45 classes, but dataset=folder .* use backbone=timm backbone.model=…"):
        engine.run(compose([*own, "backbone=mini_resnet"]), tmp_path / "run")
    assert not caplog.messages and not (tmp_path / "run").exists()
