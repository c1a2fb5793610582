"""Paths that a published manifest names stay inside its folder: nothing else is read or deleted."""

import json

import pytest

from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.report.publish import from_published, publish
from digrap.report.scores import gather
from digrap.report.verify import verify_table
from digrap.tables.spec import load_table
from tests.synthetic_runs import write_run


@pytest.fixture
def published(small_table, tmp_path):
    """The small table, published, and a file of the user's two folders up."""
    place, _ = publish(gather(*small_table), {}, tmp_path / "results")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    return place, victim


def change(place, edit):
    plain = json.loads((place / "manifest.json").read_text())
    edit(plain)
    write_json(place / "manifest.json", plain)


@pytest.mark.parametrize("form", ["relative", "absolute", "link"])
def test_a_listed_file_outside_is_an_error_and_stays(small_table, published, form):
    place, victim = published
    (place / "link").symlink_to(victim)
    name = {"relative": "../../victim", "absolute": str(victim), "link": "link"}[form]
    change(place, lambda plain: plain["files"].update({name: "0" * 64, "old.png": "0" * 64}))
    (place / "old.png").write_text("")
    before = sorted(place.rglob("*"))
    with pytest.raises(DigrapError) as error:
        publish(gather(*small_table), {}, place.parent)
    assert f"{place / 'manifest.json'}, files: {name!r} is not the path of a file in {place}" in str(error.value)
    assert victim.read_text() == "mine" and sorted(place.rglob("*")) == before, "nothing is removed, not even old.png"
    assert f"{place / 'manifest.json'}, files: {name!r}" in "\n".join(verify_table(place).differences)
    change(place, lambda plain: plain["files"].pop(name))  # the advice: correct it
    publish(gather(*small_table), {}, place.parent)
    assert victim.read_text() == "mine" and not (place / "old.png").exists()


def test_a_folder_that_is_listed_stays(small_table, published):
    place, _ = published
    (place / "mine").mkdir()
    change(place, lambda plain: plain["files"].update(mine="0" * 64))
    publish(gather(*small_table), {}, place.parent)
    assert (place / "mine").is_dir()


@pytest.mark.parametrize("files", [None, ["a"], "a"])
def test_a_manifest_without_files_is_one_error(small_table, published, files):
    place, _ = published
    change(place, lambda plain: plain.update(files=files))
    with pytest.raises(DigrapError, match=r"manifest.json is damaged \(files is no mapping\)"):
        publish(gather(*small_table), {}, place.parent)
    assert "files is no mapping" in verify_table(place).differences[0]


def test_names_of_runs_and_tables_stay_inside(small_table, published, tmp_path):
    place, victim = published
    change(place, lambda plain: plain["cells"][0].update(hash="../../../victim"))
    victim.with_suffix(".json").write_text((place / "runs" / next(place.glob("runs/*.json")).name).read_text())
    with pytest.raises(DigrapError, match=r"manifest.json, cells: 'runs/../../../victim.json' is not the path"):
        from_published(place)
    place, _ = publish(gather(*small_table), {}, tmp_path / "results")
    change(place, lambda plain: plain["spec"].update(name="../../victim"))
    assert "'../../victim.yaml' is not the path of a file in" in "\n".join(verify_table(place).differences)


def test_a_run_whose_results_name_a_hash_outside_is_not_published(small_table, tmp_path):
    table, outputs = small_table
    write_run(table.cell("DiGraP", 101), outputs, 92, hash="../../../victim")
    with pytest.raises(DigrapError, match=r"damaged \(hash is '../../../victim', not the hash of a run\)"):
        publish(gather(table, outputs), {}, tmp_path / "results")
    assert not (tmp_path / "results").exists() and not (tmp_path / "victim.json").exists()


def test_a_table_of_ones_own_is_not_published(small_table, tmp_path):
    from digrap.tables import spec

    own = tmp_path / "elsewhere" / "small.yaml"
    own.parent.mkdir()
    own.write_text((spec.CONFIGS / "tables" / "small.yaml").read_text())
    scores = gather(load_table(str(own)), small_table[1])
    with pytest.raises(DigrapError, match=rf"{own}: a published table must be in .*tables; put it there"):
        publish(scores, {}, tmp_path / "results")
    assert not (tmp_path / "results").exists()
