"""scripts/score_vqa.py: the public scorers' numbers from files in their format, options, and bad input."""

import json
import lzma
import subprocess
import sys
from pathlib import Path

import pytest

from digrap.cli import score_vqa as script
from digrap.cli.door import door
from digrap.core.paths import REPO

FIXTURE = json.loads(
    lzma.decompress((Path(__file__).parents[1] / "data" / "vqa_scorers" / "cases.json.xz").read_bytes())
)


@pytest.fixture
def run(monkeypatch, capsys):
    """Arguments → exit code, what stdout holds as JSON (None: nothing) and stderr, in this process."""

    def call(**options):
        monkeypatch.setattr(sys, "argv", ["score_vqa.py", *(f"{name}={value}" for name, value in options.items())])
        code = door(script.main)
        out, error = capsys.readouterr()
        return code, json.loads(out) if out else None, error

    return call


def write(path, value):
    path.write_text(json.dumps(value))
    return path


def annotation(question_id, answers, ids=True, **rest):
    texts = [{"answer": text, **({"answer_id": k + 1} if ids else {})} for k, text in enumerate(answers)]
    return {"question_id": question_id, "answers": texts, **rest}


def types(record):
    return {name: record[name] for name in ("answer_type", "question_type")}


@pytest.fixture
def official(tmp_path):
    """The fixture's cases as official files."""
    cases = FIXTURE["cases"]
    made = [annotation(c["question_id"], c["answers"], c["ids"], image_id=1, **types(c)) for c in cases]
    asked = [{"question_id": c["question_id"], "image_id": 1, "question": "?"} for c in cases]
    said = [{"question_id": str(c["question_id"]), "answer": c["prediction"]} for c in cases]
    return {
        "annotations": write(tmp_path / "annotations.json", {"info": {}, "annotations": made}),
        "questions": write(tmp_path / "questions.json", {"questions": asked}),
        "predictions": write(tmp_path / "predictions.json", said),
    }


@pytest.mark.parametrize("scorer", ["official2021", "official2017", "m4c"])
def test_public_numbers_from_official_files(run, official, tmp_path, scorer):
    out, rows = tmp_path / "made" / "out.json", tmp_path / "made" / "rows.json"
    code, found, error = run(**official, scorer=scorer, out=out, per_question=rows)
    expected = FIXTURE[scorer]
    assert code == 0 and found["scorer"] == scorer and found["n"] == 2000
    assert found["overall"]["accuracy"] == pytest.approx(expected["overall"], abs=1e-9)
    low, high = found["overall"]["interval_95"]
    assert low < expected["overall"] < high
    for ours, theirs in (("per_answer_type", "perAnswerType"), ("per_question_type", "perQuestionType")):
        if theirs in expected:
            cells = {name: cell["accuracy"] for name, cell in found[ours].items()}
            assert cells == pytest.approx(expected[theirs], abs=1e-9)
    lacking = sum(not case["ids"] for case in FIXTURE["cases"])
    assert [problem["count"] for problem in found["problems"].values()] == ([] if scorer == "m4c" else [lacking])
    assert ("answer_ids=add" in error) == (scorer != "m4c")
    assert set(found["files"]) == set(official) and all(len(f["sha256"]) == 64 for f in found["files"].values())
    assert json.loads(out.read_text()) == found
    written = [row["accuracy"] for row in json.loads(rows.read_text())]
    assert written == pytest.approx([100 * value for value in expected["per_question"]], abs=1e-7)


def test_added_ids_score_as_if_there_were_some(run, official):
    found = run(**official, answer_ids="add")[1]
    assert found["overall"]["accuracy"] > FIXTURE["official2021"]["overall"] and not found["problems"]


def test_what_does_not_fit_is_counted_and_strict_stops(run, tmp_path):
    made = [annotation(k, ["yes"] * 10, answer_type="yes/no", question_type="is") for k in range(4)]
    said = [{"question_id": k, "answer": "yes"} for k in (0, 0, 1, 9)]
    files = {
        "annotations": write(tmp_path / "a.json", made),
        "predictions": write(tmp_path / "p.json", said),
        "questions": write(tmp_path / "q.json", [{"question_id": k} for k in (0, 1, 2, 3, 8)]),
    }
    code, found, error = run(**files)
    assert code == 0 and found["overall"]["rounded"] == 50.0
    assert {kind: problem["count"] for kind, problem in found["problems"].items()} == {
        "question without annotation (not scored)": 1,
        "prediction for an unknown question (left out)": 1,
        "duplicate prediction (the last is kept)": 1,
        "question without prediction (scores 0)": 2,
    }
    assert error.count("warning:") == 4
    code, found, error = run(**files, strict="true")
    assert (code, found) == (2, None) and error.startswith("error: question without annotation")


def test_rephrasings_and_flips(run, tmp_path):
    made = [annotation(k, ["2"] * 10, answer_type="number", question_type="how many") for k in range(4)]
    asked = [{"question_id": 0}, *({"question_id": k, "rephrasing_of": 0} for k in (1, 2, 3))]
    said = [{"question_id": k, "answer": answer} for k, answer in enumerate(["2", "two", "3", "2"])]
    files = {
        "annotations": write(tmp_path / "a.json", made),
        "questions": write(tmp_path / "q.json", asked),
        "predictions": write(tmp_path / "p.json", said),
        "scorer": "m4c",
    }
    found = run(**files, rephrasings="true")[1]["rephrasings"]
    assert found["groups"] == 1 and found["all_right"] == 0.0
    assert [found["consensus"][k]["score"] for k in "1234"] == [75.0, 50.0, 25.0, 0.0]
    before = write(tmp_path / "o.json", [{"question_id": k, "answer": answer} for k, answer in enumerate("3342")])
    found = run(**files, originals=before, edit="cv")[1]["flips"]
    assert (found["consistent"]["count"], found["flipped"]["count"]) == (3, 1)
    found = run(**files, originals=before, edit="iv")[1]["flips"]
    assert (found["consistent"]["count"], found["flipped"]["count"]) == (1, 3)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"scorer": "official2020"}, "nearest: official2021"),
        ({"annotations": "null"}, "annotations=FILE or dataset=NAME"),
        ({"predictions": "/nonexistent.json"}, "does not exist"),
        ({"strict": "maybe"}, "give true or false"),
        ({"edit": "iv"}, "originals= and edit= go together"),
        ({"originals": "x.json", "edit": "xv"}, "choose one of iv, cv"),
        ({"format": "csv"}, "choose one of vqa, lmms_eval"),
        ({"answer_ids": "some"}, "choose one of file, add"),
        ({"annotation": "x"}, "nearest: annotations"),
        ({"rephrasings": "true"}, "no question has rephrasing_of"),
        ({"out": "PREDICTIONS"}, "would be overwritten"),
        ({"out": "/proc/none/out.json"}, "cannot be read or written"),
    ],
)
def test_bad_input_is_one_message(run, official, changed, words):
    before = official["predictions"].read_bytes()
    changed = {name: official["predictions"] if value == "PREDICTIONS" else value for name, value in changed.items()}
    code, found, error = run(**{**official, **changed})
    assert (code, found) == (2, None) and words in error and error.splitlines()[-1].startswith("error: ")
    assert official["predictions"].read_bytes() == before


def test_the_bench_runs():
    command = [sys.executable, "-m", "tools.bench_scorers", "n=300", "slice=50", "distinct=true"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split("|")[1].strip() for line in done.stdout.splitlines()[2:]] == [
        "official2021",
        "official2017",
        "m4c",
    ]


def lines(path, *values):
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def test_a_log_of_okvqa_without_ids_of_its_own(run, tmp_path):
    made = write(tmp_path / "a.json", [annotation(2971475 + k, ["yes"] * 10, image_id=k) for k in range(2)])
    log = [
        {"doc_id": 1 - k, "filtered_resps": ["yes"], "submission": {"image": f"{2971475 + k}.jpg", "answer": "yes"}}
        for k in range(2)
    ]
    for path in (lines(tmp_path / "log.jsonl", *log), write(tmp_path / "log.json", {"logs": log})):
        code, found, error = run(annotations=made, predictions=path)
        assert (code, found["overall"]["accuracy"]) == (0, 100.0) and "prediction" not in error


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ({"doc_id": 0}, "doc_id is a place in the data set, and these have ids: add question_id to the samples"),
        ({"doc": {"question_id": 1}, "metric": {"question_id": 2}}, "has two question ids: 1 in doc and 2 in metric"),
    ],
)
def test_a_log_that_names_no_question_is_one_message(run, tmp_path, sample, words):
    made = write(tmp_path / "a.json", [annotation(k, ["yes"] * 10) for k in range(3)])
    path = lines(tmp_path / "log.jsonl", {**sample, "filtered_resps": ["yes"]})
    code, found, error = run(annotations=made, predictions=path)
    assert (code, found) == (2, None) and error.startswith("error: ") and len(error.splitlines()) == 1
    assert words in error and str(path) in error


def test_vizwiz_predicted_twice_is_said(run, tmp_path):
    asked = [{"image": f"v{k}.jpg", "question": "?", "answers": [{"answer": str(k)}] * 10} for k in range(2)]
    said = [{"question_id": 0, "answer": "0"}, {"image": "v0.jpg", "answer": "x"}, {"question_id": 1, "answer": "1"}]
    files = {"annotations": write(tmp_path / "a.json", asked), "predictions": write(tmp_path / "p.json", said)}
    for duplicates, right in (("last", 50.0), ("first", 100.0)):
        code, found, error = run(**files, answer_ids="add", duplicates=duplicates)
        assert (code, found["overall"]["accuracy"]) == (0, right)
        problem = found["problems"][f"duplicate prediction (the {duplicates} is kept)"]
        assert problem == {"count": 1, "first": [f"{files['predictions']}: question 0"]} and "duplicate" in error


def test_originals_are_found_by_padded_ids_and_never_by_places(run, tmp_path):
    made = [annotation(k, [str(k)] * 10, image_id=f"{k}_a") for k in (1, 2)]
    said = [{"question_id": f"{k}/{k}_a", "answer": str(k)} for k in (1, 2)]
    files = {"annotations": write(tmp_path / "a.json", made), "predictions": write(tmp_path / "p.json", said)}
    before = write(tmp_path / "o.json", [{"question_id": f"00{k}", "answer": str(k)} for k in (1, 2)])
    found = run(**files, originals=before, edit="iv")[1]["flips"]
    assert (found["consistent"]["count"], found["originals_without_edit"]) == (2, 0)
    before = lines(tmp_path / "o.jsonl", *({"doc_id": k, "filtered_resps": [str(k)]} for k in (0, 1, 2)))
    code, found, error = run(**files, originals=before, edit="iv")
    assert (code, found) == (2, None) and f"originals={before}: doc_id alone does not identify a question" in error
