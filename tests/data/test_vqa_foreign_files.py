"""Every VQA set with files as other tools write them: padded ids, answers that are none, questions said twice."""

import json
import shutil

import pytest

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.data.vqa.read_set import read_set
from digrap.data.vqa.sets import SETS
from digrap.data.vqa.sets.vqav2 import ids_in_order
from digrap.metrics.vqa.answers import NO_TEXTS, NUMBERS
from digrap.metrics.vqa.predictions import Prediction
from digrap.metrics.vqa.score import UNUSED, match, score
from tests.data.make_vqa import make
from tests.data.test_vqa_readers import read
from tests.data.test_vqa_scoring import PAIRS

DUPLICATE = "duplicate prediction (the last is kept)"
ANSWERS = {name: files[1] for name, files in PAIRS.items()}  # the file that holds a set's answers
ANSWERS |= {"vqa_ce": PAIRS["vqav2"][1], "textvqa": "TextVQA_0.5.1_val.json", "vizwiz": "val.json"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("vqa"))


@pytest.fixture
def own(made, tmp_path):
    """A copy of the files without pictures, which a test may spoil."""
    shutil.copytree(made.root, tmp_path / "data" / "vqa", ignore=shutil.ignore_patterns("images"))
    return tmp_path / "data" / "vqa"


def edit(path, change):
    """Change each entry of a file's list by change(place, entry)."""
    data = json.loads(path.read_text())
    listed = data if isinstance(data, list) else next(value for value in data.values() if isinstance(value, list))
    for place, entry in enumerate(listed):
        change(place, entry)
    path.write_text(json.dumps(data))


def pad(place, entry):
    for key, width in (("question_id", 20), ("image_id", 12)):
        if key in entry and str(entry[key]).isdigit():
            entry[key] = str(entry[key]).zfill(width)


def padded(name):
    return "/".join(part.zfill(20) if part.isdigit() else part for part in name.split("/"))


@pytest.mark.parametrize("name", SETS)
def test_predictions_may_pad_their_ids(made, name):
    records, _ = read(made.root, name)
    said = [Prediction(padded(record.id), record.answers[place % 10]) for place, record in enumerate(records)]
    exact = [Prediction(record.id, record.answers[place % 10]) for place, record in enumerate(records)]
    found = score(records, said, "official2021", Problems(strict=True))
    assert found.accuracy.tolist() == score(records, exact, "official2021", Problems(strict=True)).accuracy.tolist()


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("half", [0, 1])
def test_one_of_two_files_may_pad_its_ids(own, name, half):
    before, faults = read(own, name)
    edit(own / name / PAIRS[name][half], pad)
    after, problems = read(own, name)
    assert set(problems.counts) == set(faults.counts)
    assert [(r.image, r.picture, r.answers) for r in after] == [(r.image, r.picture, r.answers) for r in before]
    said = [Prediction(record.id, record.target, record.image_id) for record in before]
    assert None not in match(after, said, Problems(strict=True))[1]


@pytest.mark.parametrize("name", [name for name in PAIRS if name != "vqa_rephrasings"])  # whose order tells ids apart
def test_padded_ids_pair_in_any_order(own, name):
    before, _ = read(own, name)
    path = own / name / PAIRS[name][1]
    edit(path, pad)
    data = json.loads(path.read_text())
    (data if isinstance(data, list) else data["annotations"]).reverse()
    path.write_text(json.dumps(data))
    after, _ = read(own, name)
    assert [(r.id, r.answers) for r in after] == [(r.id, r.answers) for r in before]


def test_lists_of_ce_may_pad_their_ids(own):
    before = [read(own, "vqa_ce", part)[0] for part in SETS["vqa_ce"].parts]
    for name in ("counterexamples", "hard"):
        path = own / "vqa_ce" / f"{name}.json"
        path.write_text(json.dumps([str(number).zfill(20) for number in json.loads(path.read_text())]))
    assert [read(own, "vqa_ce", part)[0] for part in SETS["vqa_ce"].parts] == before


def test_the_authors_rephrasings_are_found_by_any_spelling(own):
    before, _ = read(own, "vqa_rephrasings", source="lists")
    edit(own / "vqa_rephrasings" / "combined_data.json", pad)
    after, _ = read(own, "vqa_rephrasings", source="lists")
    assert [record.origin is None for record in after] == [record.origin is None for record in before]
    assert [record.rephrasing_of for record in after] == [record.rephrasing_of for record in before]


@pytest.mark.parametrize("value", [["red"], {"text": "red"}, True, None])
@pytest.mark.parametrize("name", SETS)
def test_answers_that_are_no_texts_leave_their_question_out(own, name, value):
    before, _ = read(own, name)
    chosen = before[0].question_id

    def spoil(place, entry):
        if str(entry.get("question_id", place)) == chosen:
            texts = isinstance(entry["answers"][4], str)
            entry["answers"][4] = value if texts else entry["answers"][4] | {"answer": value}

    edit((own / "vqav2" if name == "vqa_ce" else own / name) / ANSWERS[name], spoil)
    after, problems = read(own, name)
    assert [record.id for record in after] == [record.id for record in before if record.question_id != chosen]
    assert problems.counts[NO_TEXTS] == len(before) - len(after)
    with pytest.raises(DigrapError):
        read_set(own, name, SETS[name].scored_part, Problems(strict=True))


@pytest.mark.parametrize("name", SETS)
def test_a_number_is_an_answer_in_text(own, name):
    before, faults = read(own, name)

    def spoil(place, entry):
        if place == 0:
            values = [2, 2.0, *["2"] * 8]
            plain = isinstance(entry["answers"][0], str)
            entry["answers"] = (
                values if plain else [a | {"answer": v} for a, v in zip(entry["answers"], values, strict=True)]
            )

    edit((own / "vqav2" if name == "vqa_ce" else own / name) / ANSWERS[name], spoil)
    after, problems = read(own, name)
    changed = [record for record, old in zip(after, before, strict=True) if record != old]
    assert {record.answers for record in changed} <= {("2",) * 10} and len(changed) <= 1
    assert problems.counts == {**faults.counts, NUMBERS: 1}


def test_typed_answers_may_be_numbers(own):
    edit(own / "ok_vqa" / ANSWERS["ok_vqa"], lambda place, entry: entry["answers"][0].update(raw_answer=7))
    assert {record.raw_answers[0] for record in read(own, "ok_vqa")[0]} == {"7"}


@pytest.mark.parametrize("name", ["textvqa", "vizwiz"])
@pytest.mark.parametrize("source", ["official", "lists"])
def test_pictures_whose_names_are_none(own, name, source):
    before, _ = read(own, name, source=source)
    file = ANSWERS[name] if source == "official" else SETS[name].lists["val"]
    key = "image_id" if (name, source) == ("textvqa", "official") else "image"
    edit(own / name / file, lambda place, entry: place == 1 and entry.update({key: {"path": "a.jpg"}}))
    after, problems = read(own, name, source=source)
    assert [r.id for r in after] == [r.id for place, r in enumerate(before) if place != 1]
    assert problems.counts["image id that is neither text nor a number (left out)"] == 1


@pytest.mark.parametrize("name", SETS)
def test_a_question_predicted_twice_is_counted_whatever_names_it(made, name):
    """An edit's or a rephrasing's own prediction goes before one for the id that it shares."""
    records, _ = read(made.root, name)
    numbers = [record.question_id for record in records]
    shared = sum(numbers.count(number) > 1 for number in numbers)
    said = [Prediction(record.full_id, "first") for record in records]
    said += [Prediction(number, "second") for number in numbers]
    problems = Problems()
    texts = match(records, said, problems)[1]
    assert texts.count("first") == shared == problems.counts.get(UNUSED, 0)
    assert texts.count("second") == len(records) - shared
    assert sum(problems.counts.values()) >= len(records) and set(problems.counts) <= {DUPLICATE, UNUSED}


def test_messages_name_the_file_where_sets_share_its_name(own):
    for name in ("vqav2", "iv_vqa", "cv_vqa"):
        for file in PAIRS[name]:
            path = own / name / file
            whole = path.read_text()
            key = "questions" if file == PAIRS[name][0] else "annotations"
            path.write_text(json.dumps({key: [3, *json.loads(whole)[key]]}))
            _, problems = read(own, name)
            assert problems.examples["entry that is no object (left out)"] == [f"{path}: {key} number 0 (from 0): 3"]
            path.write_text("[]")
            with pytest.raises(DigrapError) as error:
                read(own, name)
            assert str(error.value).startswith(f"{path} has no {key}")
            path.write_text(whole)


def test_what_was_not_paired_is_said_with_its_files(own):
    questions, annotations = (own / "vqav2" / file for file in PAIRS["vqav2"])
    edit(questions, lambda place, entry: place < 5 and entry.update(image_id=entry["image_id"] + 1))
    _, problems = read(own, "vqav2", "val")
    for kind, path in (("question without annotation", questions), ("annotation without question", annotations)):
        found = problems.summary()[f"{kind} (left out)"]
        assert found["count"] == 5 and len(found["first"]) == 3
        assert all(where.startswith(f"{path}: question ") for where in found["first"])
    edit(questions, lambda place, entry: entry.update(image_id="0"))
    with pytest.raises(DigrapError) as error:
        read(own, "vqav2", "val")
    assert "no question of vqav2 val could be read (120 × question without annotation" in str(error.value)
    assert f"{questions}: question " in str(error.value) and f"{annotations}: question " in str(error.value)


@pytest.mark.parametrize("value", [3, {"questions": 3}, {"questions": []}, {"other": []}])
def test_a_question_file_without_a_list_is_named_before_a_sample_is_drawn(own, value):
    path = own / "vqav2" / PAIRS["vqav2"][0]
    path.write_text(json.dumps(value))
    with pytest.raises(DigrapError) as error:
        ids_in_order(own, "val")
    assert str(error.value).startswith(str(path))
