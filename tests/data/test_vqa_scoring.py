"""scripts/score_vqa.py dataset=…: the readers' records scored, and the same numbers as from the files."""

import json
import shutil
import sys
from collections import Counter

import pytest

from digrap.cli import score_vqa as script
from digrap.cli.door import door
from digrap.core.paths import DATA
from digrap.core.problems import Problems
from digrap.data.vqa.read_set import read_set
from digrap.data.vqa.sets import SETS
from tests.data.make_vqa import make
from tests.reference import vqa as slow

VQAV2 = ("v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json")
PAIRS = {
    "vqav2": VQAV2, "iv_vqa": VQAV2, "cv_vqa": VQAV2,
    "vqa_rephrasings": (
        "v2_OpenEnded_mscoco_valrep2014_humans_og_questions.json", "v2_mscoco_valrep2014_humans_og_annotations.json",
    ),
    "vqa_cp": ("vqacp_v2_test_questions.json", "vqacp_v2_test_annotations.json"),
    "advqa": ("v1_OpenEnded_mscoco_val2017_advqa_questions.json", "v1_mscoco_val2017_advqa_annotations.json"),
    "ok_vqa": ("OpenEnded_mscoco_val2014_questions.json", "mscoco_val2014_annotations.json"),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("vqa"))


def records(made, name, part=None):
    return read_set(made.root, name, part or SETS[name].scored_part, Problems())


def answer_file(found, path, key=lambda record: record.id, answer=lambda record, place: record.answers[place % 10]):
    """A prediction file: of every question one of its ten answers, so that some are right and some half right."""
    rows = [{"question_id": key(record), "answer": answer(record, place)} for place, record in enumerate(found)]
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*extra, **options):
        given = [*extra, *(f"{name}={value}" for name, value in options.items())]
        monkeypatch.setattr(sys, "argv", ["score_vqa.py", *given])
        code = door(script.main)
        out, error = capsys.readouterr()
        assert code == 0, error
        return json.loads(out)

    return call


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("scorer", ["official2021", "official2017", "m4c"])
def test_every_set_scored_by_its_records(made, run, tmp_path, name, scorer):
    found = records(made, name)
    result = run(
        predictions=answer_file(found, tmp_path / "p.json"), dataset=name, data_root=made.data_root, scorer=scorer
    )
    slowly = [
        slow.SCORERS[scorer](record.answers[place % 10], [{"answer": a, "id": k} for k, a in enumerate(record.answers)])
        for place, record in enumerate(found)
    ]
    assert result["n"] == len(found) and result["problems"].keys() <= {"empty question", "question that ends in /"}
    assert result["overall"]["accuracy"] == pytest.approx(100 * sum(slowly) / len(slowly), abs=1e-9)
    types = Counter(record.answer_type for record in found if record.answer_type)
    assert {kind: cell["n"] for kind, cell in result["per_answer_type"].items()} == types


@pytest.mark.parametrize("name", PAIRS)
def test_files_and_records_give_the_same(made, run, tmp_path, name):
    found, (questions, annotations) = records(made, name), PAIRS[name]
    path = answer_file(found, tmp_path / "p.json")
    files = {key: made.root / name / file for key, file in (("questions", questions), ("annotations", annotations))}
    by_files = run(predictions=path, **files)
    by_records = run(predictions=path, dataset=name, data_root=made.data_root)
    for key in ("n", "overall", "per_answer_type", "per_question_type"):
        assert by_files[key] == by_records[key]
    assert not [
        kind for kind in by_files["problems"] if "prediction" in kind or "without" in kind and "_type" not in kind
    ]


def test_vizwiz_as_the_file_is_and_by_picture(made, run, tmp_path):
    found = records(made, "vizwiz")
    same = {"answer": lambda record, place: record.target}
    by_place = answer_file(found, tmp_path / "place.json", **same)
    by_name = answer_file(found, tmp_path / "name.json", key=lambda record: record.image_id, **same)
    added = run(predictions=by_place, dataset="vizwiz", data_root=made.data_root)
    assert run(predictions=by_name, dataset="vizwiz", data_root=made.data_root)["overall"] == added["overall"]
    as_is = run(predictions=by_place, dataset="vizwiz", data_root=made.data_root, answer_ids="file")
    assert as_is["overall"]["accuracy"] < added["overall"]["accuracy"]


def test_okvqa_as_typed(made, run, tmp_path):
    found = records(made, "ok_vqa")
    typed = answer_file(
        found, tmp_path / "p.json", answer=lambda record, place: Counter(record.raw_answers).most_common(1)[0][0]
    )
    stemmed = run(predictions=typed, dataset="ok_vqa", data_root=made.data_root)
    raw = run(predictions=typed, dataset="ok_vqa", data_root=made.data_root, raw_answers="true")
    assert raw["overall"]["accuracy"] > stemmed["overall"]["accuracy"]


def test_consistency_and_flips(made, run, tmp_path):
    best = {"answer": lambda record, place: record.target}
    found = records(made, "vqa_rephrasings")
    path = answer_file(found, tmp_path / "r.json", **best)
    result = run(predictions=path, dataset="vqa_rephrasings", data_root=made.data_root, rephrasings="true")
    assert result["rephrasings"]["all_right"] == 100.0
    assert sum(result["rephrasings"]["wordings"].values()) == len({record.origin for record in found})
    originals = answer_file(records(made, "vqav2", "val"), tmp_path / "o.json", **best)
    for name, edit in (("iv_vqa", "iv"), ("cv_vqa", "cv")):
        path = answer_file(records(made, name), tmp_path / f"{edit}.json", **best)
        flips = run(predictions=path, dataset=name, data_root=made.data_root, originals=originals, edit=edit)["flips"]
        assert flips["compared"] == flips["n"] == len(records(made, name))
    assert flips["consistent"]["percent"] == 100.0  # counting edits: every answer is one less


def test_a_split_of_a_protocol_without_pictures(made, run, tmp_path):
    shares = ["dataset.train_share=0.5", "dataset.val_share=0.3"]
    path = answer_file(records(made, "vqav2", "val"), tmp_path / "p.json")
    result = run(*shares, predictions=path, dataset="vqav2", split="vqav2", data_root=made.data_root)
    assert result["n"] == int(0.3 * 120)
    assert result["problems"]["prediction for an unknown question (left out)"]["count"] == 120 - result["n"]


def test_caveats_and_faults_of_a_split_stand_beside_its_score(made, run, tmp_path):
    path = answer_file(records(made, "vqa_rephrasings"), tmp_path / "p.json")
    shares = ["dataset.protocol=paper", "dataset.train_share=0.5", "dataset.val_share=0.3"]
    given = {"predictions": path, "dataset": "vqav2", "split": "vqa_rephrasings", "data_root": made.data_root}
    result = run(*shares, **given)
    assert result["protocol"].startswith("paper, ") and "training set" in result["caveats"][0]
    assert result["problems"]["empty question"]["count"] == 2


def test_questions_left_out_by_a_protocol_are_counted_and_no_fault(made, run, tmp_path):
    given = {
        "predictions": answer_file(records(made, "vqa_cp"), tmp_path / "p.json"),
        "dataset": "vqav2",
        "split": "vqa_cp",
    }
    result = run("dataset.train_share=0.5", data_root=made.data_root, strict="true", **given)
    assert result["left_out"] > 0 and result["left_out"] + result["n"] == len(records(made, "vqa_cp"))
    padded = answer_file(records(made, "vqa_cp"), tmp_path / "0.json", key=lambda record: record.id.zfill(20))
    again = run("dataset.train_share=0.5", data_root=made.data_root, strict="true", **given | {"predictions": padded})
    assert again["overall"] == result["overall"]
    result = run("dataset.protocol=paper", data_root=made.data_root, **given)
    assert result["left_out"] == 0 and result["n"] == len(records(made, "vqa_cp"))


def test_faults_of_a_split_are_its_own(made, run, tmp_path):
    root = shutil.copytree(made.data_root, tmp_path / "data")
    for part in ("train", "val"):
        path = root / "vqa" / "vqav2" / f"v2_mscoco_{part}2014_annotations.json"
        data = json.loads(path.read_text())
        for entry in data["annotations"]:
            entry["answers"].pop()
        path.write_text(json.dumps(data))
    path = answer_file(records(made, "vqa_ce"), tmp_path / "p.json")
    alone = run(predictions=path, dataset="vqa_ce", data_root=root)["problems"]
    for protocol in ("clean", "paper"):
        among = run(f"dataset.protocol={protocol}", predictions=path, dataset="vqav2", split="vqa_ce", data_root=root)
        assert among["problems"] == alone


def test_the_first_prediction_counts_for_originals_too(made, run, tmp_path):
    best = {"answer": lambda record, place: record.target}
    path = answer_file(records(made, "cv_vqa"), tmp_path / "cv.json", **best)
    rows = json.loads(answer_file(records(made, "vqav2", "val"), tmp_path / "o.json", **best).read_text())
    (tmp_path / "o.json").write_text(json.dumps([*rows, *({**row, "answer": "odd"} for row in rows)]))
    given = {"dataset": "cv_vqa", "data_root": made.data_root, "originals": tmp_path / "o.json", "edit": "cv"}
    assert run(predictions=path, duplicates="first", **given)["flips"]["consistent"]["percent"] == 100.0
    assert run(predictions=path, **given)["flips"]["consistent"]["percent"] == 0.0


def test_what_does_not_go_together(made, monkeypatch, capsys, tmp_path):
    path = tmp_path / "p.json"
    path.write_text('[{"question_id": 1, "answer": "a"}]')
    for given, words in (
        (["dataset=vqav3"], "dataset=vqav3: give split=NAME, or one of vqav2"),
        (["dataset=vqav2", "annotations=x"], "either annotations=FILE or"),
        (["annotations=x", "split=vqav2", "part=val"], "part= needs dataset="),
        (["annotations=x", f"data_root={DATA}", "dataset.protocol=paper"], "dataset.protocol= needs dataset="),
        (["dataset=vqav2", "dataset.protocol=paper"], "needs split="),
        (["dataset=vqav2", "split=vqa_rephrasings", "strict=true"], "empty question"),
        (["dataset=minidomainnet", "split=real"], "no questions"),
        (["dataset=vqav2", "duplicates=all"], "duplicates=all: choose one of last, first"),
        (["dataset=vqav2", "split=vqa"], "no such split; nearest: "),
        (["dataset=vqav2", "raw_answers=true"], "no raw answers"),
        (["dataset=vqav2", "answer_ids=x"], "choose one of file, add"),
        (["dataset=vqav2", "part=test"], "no part 'test'"),
    ):
        monkeypatch.setattr(sys, "argv", ["x", f"predictions={path}", f"data_root={made.data_root}", *given])
        assert door(script.main) == 2
        assert words in capsys.readouterr().err
