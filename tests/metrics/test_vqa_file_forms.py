"""Forms of prediction and annotation files: lmms-eval's logs, JSON lines, compressed files, TextVQA's own."""

import bz2
import gzip
import json
import lzma
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

from digrap.core.errors import DigrapError
from digrap.core.json_lines import read_json_or_lines
from digrap.core.problems import Problems
from digrap.metrics.vqa.annotations import read_annotations
from digrap.metrics.vqa.answers import NO_TEXTS, NUMBERS
from digrap.metrics.vqa.predictions import Prediction, read_predictions
from digrap.metrics.vqa.score import score
from tests.metrics.test_vqa_files import annotation, write

OKVQA = (2971475, 3397615)


def lines(values):
    return "".join(json.dumps(value) + "\n" for value in values)


def okvqa_log(**more):
    """Samples as lmms-eval's tracker writes them for OK-VQA: without `doc`, the id in the submission's image."""
    return [
        {"doc_id": k, "target": "x", "filtered_resps": ["yes"], "doc_hash": "0", "exact_match": 1.0,
         "submission": {"image": f"{number}.jpg", "answer": "yes"}, **more}
        for k, number in enumerate(OKVQA)
    ]  # fmt: skip


@pytest.fixture
def okvqa(tmp_path):
    made = [annotation(number, image_id=k) for k, number in enumerate(OKVQA)]
    return read_annotations(write(tmp_path / "a.json", {"annotations": made}), Problems(strict=True))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("ok_vqa.jsonl", lambda: lines(okvqa_log())),
        ("ok_vqa.json", lambda: lines(okvqa_log())),
        ("ok_vqa.json", lambda: {"args": {}, "model_configs": {}, "logs": okvqa_log(), "time": "1124"}),
        ("ok_vqa.jsonl", lambda: {"logs": okvqa_log()}),
        ("ok_vqa.json", lambda: okvqa_log()),
        ("ok_vqa.json", lambda: okvqa_log(doc={"image": "COCO_1.jpg", "answer": "no"})),
        ("submission.json", lambda: [sample["submission"] for sample in okvqa_log()]),
        ("submission.jsonl", lambda: lines(sample["submission"] for sample in okvqa_log())),
    ],
)
def test_okvqas_logs_are_scored_by_their_question_ids(tmp_path, okvqa, name, make):
    said = read_predictions(write(tmp_path / name, make()), Problems(strict=True))
    assert score(okvqa, said, "official2021", Problems(strict=True)).accuracy.tolist() == [1.0, 1.0]


def test_logs_of_vizwiz_name_the_picture(tmp_path):
    made = [{"image": f"v{k}.jpg", "question": "?", "answers": [{"answer": str(k)}] * 10} for k in (0, 1)]
    asked = read_annotations(write(tmp_path / "val.json", made), Problems(), answer_ids="add")
    for ending in (".jpg", ".jpg.jpg"):  # lmms-eval appends .jpg to an id that is a file's name
        said = [
            {"doc_id": 1 - k, "filtered_resps": [str(k)], "submission": {"image": f"v{k}{ending}", "answer": str(k)}}
            for k in (0, 1)
        ]
        found = read_predictions(write(tmp_path / "p.jsonl", lines(said)), Problems(strict=True))
        assert score(asked, found, "official2021", Problems(strict=True)).accuracy.tolist() == [1.0, 1.0]
    places = [{"doc_id": k, "filtered_resps": [str(k)]} for k in (0, 1)]  # no ids anywhere: places
    found = read_predictions(write(tmp_path / "p.jsonl", lines(places)), Problems())
    assert score(asked, found, "official2021", Problems(strict=True)).accuracy.tolist() == [1.0, 1.0]


def test_doc_id_is_refused_where_questions_have_ids_and_question_id_helps(tmp_path):
    """Ids 1, 2, 3 at the places 0, 1, 2: taken as ids, the places would give each question its neighbour's answer."""
    made = [annotation(k, [str(k)] * 10) for k in (1, 2, 3)]
    asked = read_annotations(write(tmp_path / "a.json", made), Problems())
    said = [{"doc_id": k - 1, "filtered_resps": [str(k)]} for k in (1, 2, 3)]
    found = read_predictions(write(tmp_path / "p.jsonl", lines(said)), Problems())
    with pytest.raises(DigrapError, match="add question_id to the samples"):
        score(asked, found, "official2021", Problems())
    advised = [sample | {"question_id": sample["doc_id"] + 1} for sample in said]
    found = read_predictions(write(tmp_path / "p.jsonl", lines(advised)), Problems(strict=True))
    assert score(asked, found, "official2021", Problems(strict=True)).accuracy.tolist() == [1.0] * 3


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ({"doc": {"question_id": 1}, "submission": {"question_id": 2}}, "1 in doc and 2 in submission"),
        ({"question_id": 1, "submission": {"image": "2.jpg", "answer": ""}}, "1 in the sample and '2.jpg' in sub"),
        ({"doc": {"question_id": "x"}, "question_id": 5}, "'x' in doc and 5 in the sample"),
    ],
)  # fmt: skip
def test_two_ids_of_one_sample_are_an_error(tmp_path, sample, words):
    path = write(tmp_path / "p.jsonl", "\n" + lines([{"filtered_resps": ["a"], **sample}]))
    with pytest.raises(DigrapError) as error:
        read_predictions(path, Problems())
    assert words in str(error.value) and f"{path}: line 2 has two question ids" in str(error.value)


def test_ids_of_one_sample_that_are_one(tmp_path):
    sample = {"doc": {"question_id": "0012"}, "filtered_resps": ["a"], "exact_match": 1.0}
    sample |= {"submission": {"image": "12.jpg", "answer": "a"}, "other": {"question_id": 12}}
    found = read_predictions(write(tmp_path / "p.jsonl", lines([sample])), Problems(strict=True))
    assert found == [Prediction("0012", "a")]


def test_a_list_under_the_name_of_lines(tmp_path):
    said = [{"question_id": 1, "answer": "a"}]
    found = read_predictions(write(tmp_path / "p.jsonl", said), Problems(strict=True))
    assert found == [Prediction("1", "a")] and found[0].file == str(tmp_path / "p.jsonl")


def test_lines_under_the_name_of_json(tmp_path):
    said = lines({"question_id": k, "answer": "a"} for k in (1, 2))
    found = read_predictions(write(tmp_path / "p.json", said), Problems(strict=True))
    assert found == [Prediction("1", "a"), Prediction("2", "a")]
    made = lines(annotation(k, image_id=k) for k in (1, 2))
    asked = lines({"question_id": k, "image_id": k} for k in (1, 2))
    files = write(tmp_path / "a.json", made), Problems(strict=True), write(tmp_path / "q.json", asked)
    assert [question.question_id for question in read_annotations(*files)] == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1}\n{"a": 2}\n{"a": ', "p.json: line 3 is not JSON in UTF-8, or cut off"),
        ('{"a": 1} trailing', "is not JSON (Extra data, line 1, column 10)"),
        ('{"a": 1}}', "is not JSON (Extra data, line 1, column 9)"),
    ],
)
def test_lines_that_are_none(tmp_path, text, words):
    with pytest.raises(DigrapError) as error:
        read_json_or_lines(write(tmp_path / "p.json", text), "predictions")
    assert words in str(error.value) and str(tmp_path) in str(error.value)


def test_one_line_is_a_list_of_one_where_the_name_says_lines(tmp_path):
    assert read_json_or_lines(write(tmp_path / "p.jsonl", '{"a": 1}\n'), "x") == [{"a": 1}]
    assert read_json_or_lines(write(tmp_path / "p.json", '{"a": 1}\n'), "x") == {"a": 1}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_are_read_whatever_their_name(tmp_path, pack):
    said = pack(json.dumps([{"question_id": 1, "answer": "a"}]).encode())
    for name in ("p.json", "p.json.gz"):
        assert read_predictions(write(tmp_path / name, said), Problems(strict=True)) == [Prediction("1", "a")]
    made = write(tmp_path / "a.json.gz", pack(json.dumps([annotation(1)]).encode()))
    assert read_annotations(made, Problems(strict=True))[0].question_id == "1"
    log = pack(b'{"question_id": 1, "filtered_resps": ["a"]}\n{"question_id": 2, "filtered_resps": ["b"]}\n')
    assert len(read_predictions(write(tmp_path / "p.jsonl.gz", log), Problems(strict=True))) == 2
    with pytest.raises(DigrapError, match=r"a.json.gz is a damaged \w+ file .*; write or download it again"):
        read_annotations(write(tmp_path / "a.json.gz", made.read_bytes()[:-9]), Problems())


def zipped(path, inner):
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inner, inner.name)


def tarred(mode):
    def pack(path, inner):
        with tarfile.open(path, mode) as archive:
            archive.add(inner, inner.name)

    return pack


def by_zstd(path, inner):
    if not shutil.which("zstd"):
        pytest.skip("zstd is not installed")
    subprocess.run(["zstd", "-q", inner, "-o", path], check=True)


@pytest.mark.parametrize(
    ("pack", "what"),
    [
        (zipped, "is a zip archive"),
        (tarred("w"), "is a tar archive"),
        (tarred("w:gz"), "is a tar archive"),
        (by_zstd, "is compressed by zstd"),
    ],
)
def test_an_archive_is_named_and_the_advised_command_unpacks_it(tmp_path, pack, what):
    inner = write(tmp_path / "whole.json", [annotation(1)])
    path = tmp_path / "the annotations' archive.json"
    pack(path, inner)
    inner.unlink()
    with pytest.raises(DigrapError, match=f"{what}, not JSON: unpack it") as error:
        read_annotations(path, Problems())
    command = str(error.value).split("`")[1].replace("python ", f"{sys.executable} ", 1)
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert read_annotations(inner, Problems(strict=True))


def test_ids_that_are_whole_numbers_with_a_point_are_numbers(tmp_path):
    asked = read_annotations(write(tmp_path / "a.json", [annotation(number) for number in (1.0, 2.0)]), Problems())
    said = read_predictions(
        write(tmp_path / "p.json", '[{"question_id": 1.0, "answer": "yes"}]'), Problems(strict=True)
    )
    assert [question.question_id for question in asked] == ["1", "2"] and said == [Prediction("1", "yes")]
    log = write(tmp_path / "p.jsonl", '{"doc": {"question_id": 1.0}, "m": {"question_id": 1}, "resps": ["yes"]}')
    assert read_predictions(log, Problems(strict=True)) == said
    problems = Problems()
    with pytest.raises(DigrapError, match="no predictions that can be read"):
        read_predictions(
            write(tmp_path / "p.json", [{"question_id": n, "answer": "a"} for n in (1.5, 2.0**53, float("nan"))]),
            problems,
        )
    assert problems.counts == {"question_id that is neither a whole number nor text (left out)": 3}


def test_textvqas_own_file(tmp_path):
    one = {"question_id": 34602, "question": "?", "image_id": "000f", "answers": ["nous"] * 10}
    made = [one, one | {"question_id": 34603}]
    path = write(tmp_path / "TextVQA_0.5.1_val.json", {"dataset_type": "val", "data": made})
    problems = Problems()
    asked = read_annotations(path, problems, questions=path)
    assert [q.question_id for q in asked] == ["34602", "34603"] and asked[0].answer_keys is None
    assert set(problems.counts) == {"annotation without answer_type", "annotation without question_type"}
    said = [Prediction("34602", "nous"), Prediction("34603", "x")]
    assert score(asked, said, "m4c", Problems(strict=True)).accuracy.tolist() == [1.0, 0.0]


def test_padded_ids_join_questions_and_annotations(tmp_path):
    made = [annotation(5, image_id=12345), annotation(6, image_id=3), annotation(9, image_id=3)]
    asked = [{"question_id": "0006", "image_id": "000000000003", "rephrasing_of": "05"},
             {"question_id": 5, "image_id": "000000012345"}, {"question_id": 8, "image_id": 3}]  # fmt: skip
    files = write(tmp_path / "a.json", made), write(tmp_path / "q.json", {"questions": asked})
    problems = Problems()
    found = read_annotations(files[0], problems, files[1])
    assert [question.rephrasing_of for question in found] == [None, "05", None]
    assert problems.summary() == {
        "annotation without question (scored)": {"count": 1, "first": [f"{files[0]}: question 9/3"]},
        "question without annotation (not scored)": {"count": 1, "first": [f"{files[1]}: question 8/3"]},
    }


def test_a_number_too_large_for_a_float_is_a_text(tmp_path):
    (question,) = read_annotations(write(tmp_path / "a.json", [annotation(1, (10**400,) * 10)]), Problems())
    assert question.answers == ("1" + "0" * 400,) * 10


@pytest.mark.parametrize("value", [2, 2.0, "2"])
def test_numbers_among_annotated_answers_are_texts(tmp_path, value):
    problems = Problems()
    (question,) = read_annotations(write(tmp_path / "a.json", [annotation(1, (value,) * 10)]), problems)
    assert question.answers == ("2",) * 10 and problems.counts == ({} if value == "2" else {NUMBERS: 1})


@pytest.mark.parametrize("value", [True, None, ["yes"], {"answer": "yes"}, float("nan"), float("inf")])
def test_annotated_answers_that_are_no_texts_leave_their_question_out(tmp_path, value):
    bad = annotation(1) | {"answers": [{"answer": value}, *annotation(1)["answers"][1:]]}
    problems = Problems()
    path = write(tmp_path / "a.json", [bad, annotation(2)])
    assert [question.question_id for question in read_annotations(path, problems)] == ["2"]
    assert problems.counts == {NO_TEXTS: 1} and problems.examples[NO_TEXTS][0].startswith(f"{path}: question 1: [")


def test_other_values_that_are_no_texts_are_none(tmp_path):
    odd = annotation(1) | {"answer_type": ["other"], "question_type": {"a": 1}, "image_id": [3], "rephrasing_of": {}}
    problems = Problems()
    (question,) = read_annotations(write(tmp_path / "a.json", [odd]), problems)
    assert question.image_id is question.answer_type is question.question_type is question.rephrasing_of is None
    assert set(problems.counts) == {"annotation without answer_type", "annotation without question_type"}
