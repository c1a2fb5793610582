"""A published table stands alone, and nothing in it can change unseen; two runs compared."""

import hashlib
import json
import shutil
import sys

import numpy as np
import pytest

from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.report import publish as publishing
from digrap.report import render
from digrap.report.gather import load_run
from digrap.report.publish import from_published, publish
from digrap.report.scores import gather, tally
from digrap.report.verify import verify, verify_table
from digrap.runs.predictions import read_bundle, write_bundle
from digrap.tables import spec
from tests.synthetic_runs import SPLITS, N, script, write_run


@pytest.fixture
def published(small_table, tmp_path):
    """The small table, published with a picture."""
    place, _ = publish(gather(*small_table), {"small_id_ood.png": b"picture"}, tmp_path / "results")
    return place


def run_script(name, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    script(name).main()


def fix(place, name):
    """The manifest's hash of a file that was changed, as a forger would write it."""
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256((place / name).read_bytes()).hexdigest()
    write_json(place / "manifest.json", manifest)


def content_of(path, labels_folder):
    """A bundle as `write_bundle` takes it."""
    bundle = read_bundle(path, labels_folder)
    splits = {split: {"prediction": bundle.answers(split).copy()} for split in bundle.splits}
    return splits, {split: {"label": bundle.labels(split)} for split in bundle.splits}


def differences(place):
    return "\n".join(verify_table(place).differences)


def test_a_published_table_is_what_its_outputs_give(small_table, published):
    names = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    scores = gather(*small_table)
    runs = {run.results.hash for run in scores.runs}
    assert len(runs) == 6, "searches are not printed"
    assert {name for name in names if name.startswith("runs/")} == {
        f"runs/{h}.{e}" for h in runs for e in ("json", "npz")
    }
    assert len([name for name in names if name.startswith("labels/")]) == 2
    assert {"manifest.json", "small.md", "small.tex", "small.csv", "small_id_ood.png"} < names
    texts = render.files(scores)
    shutil.rmtree(small_table[1])
    spec.CONFIGS.joinpath("tables", "small.yaml").unlink()
    assert render.files(tally(from_published(published))) == texts


def test_speed_and_memory_of_a_run_are_published_and_change_no_table(small_table, published, tmp_path):
    """Runs made before results had them lie beside those that do."""
    file = gather(*small_table).runs[0].file
    measured = {"evaluated_per_s": 12.5, "peak_memory": {"host_mb": 900.0}}
    write_json(file, json.loads(file.read_text()) | {"measured": measured})
    again, _ = publish(gather(*small_table), {"small_id_ood.png": b"picture"}, tmp_path / "again")
    assert [run.results.measured for run in from_published(again).runs] == [measured, *[{}] * 5]
    assert differences(again) == ""
    assert all((again / name).read_bytes() == (published / name).read_bytes() for name in ("small.md", "small.csv"))


def test_an_untouched_table_passes(published):
    (checked,) = verify(published.parent)
    assert (checked.name, checked.runs, checked.scores, checked.differences) == ("small", 6, 6 * 7, [])
    assert checked.seconds < 20


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(
    ("name", "old", "new", "line"), [("small.md", "71.0", "71.1", 6), ("small.csv", ",71.0,", ",71.2,", 11)]
)
def test_a_changed_digit_is_found(published, name, old, new, line, fixed):
    path = published / name
    path.write_text(path.read_text().replace(old, new, 1))
    if fixed:
        fix(published, name)
    found = differences(published)
    assert f"small/{name}, line {line}:\n    there: " in found
    assert (f"{name} differs from the manifest (sha256)" in found) != fixed


@pytest.mark.parametrize("fixed", [False, True])
def test_a_changed_prediction_is_found(small_table, published, fixed):
    identity = small_table[0].cell("DiGraP", 101).folder().name
    path = published / "runs" / f"{identity}.npz"
    splits, truth = content_of(path, published)
    splits["sketch"]["prediction"][0] = (splits["sketch"]["prediction"][0] + 1) % 45
    write_bundle(path, splits, truth)
    if fixed:
        fix(published, f"runs/{identity}.npz")
    found = differences(published)
    assert "DiGraP, seed 101, split sketch: the predictions in" in found and "give 71.0 % of 100" in found
    assert ("npz differs from the manifest (sha256)" in found) != fixed


def test_a_changed_score_is_found(small_table, published):
    name = f"runs/{small_table[0].cell('zero-shot', 100).folder().name}.json"
    (published / name).write_text((published / name).read_text().replace("40.0", "41.0"))
    fix(published, name)
    assert "zero-shot, seed 100, split clipart" in differences(published)


@pytest.mark.parametrize("content", ["{", "{}", '{"schema": 1}'])
def test_damaged_results_say_to_publish_again(small_table, published, content):
    file = published / "runs" / f"{small_table[0].cell('zero-shot', 100).folder().name}.json"
    file.write_text(content)
    for read in (lambda: from_published(published), lambda: load_run(file.with_suffix(""))):
        with pytest.raises(DigrapError, match=f"{file}.*; publish the table again$"):
            read()


def test_files_added_or_lost_are_found(published):
    (published / "runs" / "more.txt").write_text("")
    (published / "small_id_ood.png").unlink()
    lines = verify_table(published).differences
    assert [line.split("small/")[1] for line in lines] == [
        "small_id_ood.png is missing",
        "runs/more.txt is not in the manifest",
    ]


def test_other_labels_are_found(published):
    first, second = sorted((published / "labels").iterdir())
    shutil.copy(first, second)
    assert "the labels do not match its name" in differences(published)


@pytest.mark.parametrize("gone", [False, True])
def test_a_table_that_changed_since_is_named(published, gone):
    path = spec.CONFIGS / "tables" / "small.yaml"
    path.unlink() if gone else path.write_text(path.read_text().replace("3e-4", "3e-5"))
    assert ("small.yaml is gone" if gone else "small.yaml has changed since") in differences(published)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plain: plain["cells"].pop(), "cells and missing are not every row and seed once"),
        (lambda plain: plain["cells"][0].update(seed=101), "is not the run that the manifest's cell names"),
        (lambda plain: plain["cells"][0]["overrides"].insert(0, "a=b"), "is not the run that"),
        (lambda plain: plain["spec"].update(title="T"), "its spec differs from its yaml"),
        (lambda plain: plain["splits"].update(quickdraw="near_ood"), "split quickdraw is far_ood, the table's is near"),
        (lambda plain: plain.update(own_pictures=False), "small.md, line 10"),
        (lambda plain: plain.pop("cells"), "manifest.json is damaged"),
        (lambda plain: plain.update(schema=2), "manifest.json has schema 2, this version reads 1"),
    ],
)
def test_a_changed_manifest_is_found(published, change, message):
    plain = json.loads((published / "manifest.json").read_text())
    change(plain)
    write_json(published / "manifest.json", plain)
    assert message in differences(published)


def test_the_script_prints_a_line_a_table_and_ends_with_what_differs(published, monkeypatch, capsys, tmp_path):
    run_script("verify", monkeypatch, f"results={published.parent}")
    assert "small: 6 runs, 42 scores, as published, " in capsys.readouterr().out
    (published / "small.md").write_text("")
    (published.parent / "half").mkdir()
    with pytest.raises(DigrapError) as error:
        run_script("verify", monkeypatch, f"results={published.parent}")
    assert "small: 6 runs, 42 scores, 2 DIFFERENCES" in capsys.readouterr().out
    assert "half/manifest.json cannot be read" in str(error.value) and "there: \n" in str(error.value)
    (tmp_path / "empty").mkdir()
    run_script("verify", monkeypatch, f"results={tmp_path / 'empty'}")
    assert "has no published table" in capsys.readouterr().out


def test_an_incomplete_table_is_published_with_what_is_missing(small_table, tmp_path, monkeypatch, capsys):
    table, outputs = small_table
    shutil.rmtree(table.cell("DiGraP", 101).folder(outputs))
    run_script(
        "make_tables", monkeypatch, "table=small", f"outputs={outputs}", f"out={tmp_path / 'out'}",
        f"publish={tmp_path / 'results'}",
    )  # fmt: skip
    assert "5 runs, 0.0" in (printed := capsys.readouterr().out) and "MB; 1 runs missing" in printed
    place = tmp_path / "results" / "small"
    assert "seed=101" in (place / "small.md").read_text()
    assert verify_table(place).differences == []
    write_run(table.cell("DiGraP", 101), outputs, 92)
    write_run(table.cell("DiGraP", 100), outputs, 90, dataset="minidomainnet", method="renamed")
    publish(gather(table, outputs), {}, tmp_path / "results")  # the pictures of before go
    assert not list(place.glob("*.png")) and verify_table(place).differences == []


def test_what_is_not_published(small_table, tmp_path, monkeypatch):
    table, outputs = small_table
    place = tmp_path / "results"
    monkeypatch.setattr(publishing, "LIMIT_MB", 0.001)
    with pytest.raises(DigrapError, match="would hold .* MB, the limit is 0.001"):
        publish(gather(table, outputs), {}, place)
    write_run(table.cell("DiGraP", 101), outputs, 90, dirty=True)
    with pytest.raises(DigrapError, match="made with uncommitted changes"):
        publish(gather(table, outputs, dirty=True), {}, place)
    with pytest.raises(DigrapError, match="no run is finished yet; python train.py"):
        publish(gather(table, tmp_path / "none"), {}, place)
    assert not place.exists()


def test_two_runs_compared(small_table, published, monkeypatch, capsys):
    table, outputs = small_table
    first = table.cell("DiGraP", 100).folder(outputs)
    second = table.cell("vanilla", 100, ("trainer.base.lr=1e-3",)).folder(outputs)
    run_script("compare", monkeypatch, first, published / "runs" / second.name, "split=sketch")
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if "sketch" in line]
    # 20 of 100 examples that the first alone got right: exact p = 2 / 2^20.
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "sketch", "70.00", "50.00", "+20.00", "[+12.00, +28.00]", "1.9e-06", "100",
    ]  # fmt: skip
    run_script("compare", monkeypatch, first, second)
    printed = capsys.readouterr().out
    assert all(split in printed for split in (*SPLITS, "real_val"))


def test_runs_that_cannot_be_compared(small_table, monkeypatch):
    table, outputs = small_table
    first, other_seed = (table.cell("DiGraP", seed).folder(outputs) for seed in (100, 101))
    for arguments, message in [
        ([first], "give two runs"),
        ([first, outputs / "none"], "is not a finished run"),
        ([first, other_seed], "split real_val: m, seed 100 .* and m, seed 101 .* have different labels or ids"),
        ([first, first, "split=skech"], "split=skech: it is not in both runs; nearest: sketch"),
        ([first, first, "splits=sketch"], "nearest: split"),
    ]:
        with pytest.raises(DigrapError, match=message):
            run_script("compare", monkeypatch, *arguments)
    write_run(table.cell("zero-shot", 100), outputs, 50, dataset="another")
    with pytest.raises(DigrapError, match="is on minidomainnet, .* on another"):
        run_script("compare", monkeypatch, first, table.cell("zero-shot", 100).folder(outputs))


def test_a_bundle_that_lacks_a_split_is_named(small_table):
    table, outputs = small_table
    path = table.cell("DiGraP", 100).folder(outputs) / "predictions.npz"
    splits, truth = content_of(path, path.parent.parent)
    splits["sketch"]["prediction"] = splits["sketch"]["prediction"][: N // 2]
    write_bundle(path, splits, truth)
    with pytest.raises(DigrapError, match="no whole predictions of split sketch"):
        render.markdown(gather(table, outputs))


def test_the_same_examples_for_every_seed_are_drawn_once(small_table):
    scores = gather(*small_table)
    own = scores.compare("DiGraP", "vanilla")["OOD mean"]
    source = scores.source.__class__(**{**vars(scores.source), "own_pictures": False})
    shared = tally(source)
    once = shared.compare("DiGraP", "vanilla")["OOD mean"]
    assert once.high - once.low > 1.2 * (own.high - own.low) and np.isclose(own.mean, once.mean)
    assert "a seed changes the order only" in render.notes(shared)[0]
    assert "bootstrap over seeds, and examples once for all, puts" in render.notes(shared)[3]
