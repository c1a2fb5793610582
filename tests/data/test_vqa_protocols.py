"""Samples, protocols and the count of leakage."""

import json
import random
import shutil
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from digrap.cli import show_dataset
from digrap.cli.door import door
from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.data import vqa
from digrap.data.vqa.leakage import leakage, words
from digrap.data.vqa.protocols import draw
from digrap.engine.build import build_data
from digrap.engine.rescore import rescore
from digrap.engine.run import run
from digrap.metrics.vqa.question import Question
from tests.data.make_vqa import make
from tests.doors import call


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("vqa"))


def ask(number, picture="coco:1", question="What?", origin=None):
    return Question(
        str(number), "", ("a",) * 10, question=question, dataset="vqav2", picture=picture,
        origin=str(number) if origin is None else origin,
    )  # fmt: skip


TRAIN, VAL = [str(n) for n in range(443_757)], [str(n) for n in range(1_000_000, 1_214_354)]


@pytest.mark.parametrize("protocol", ["paper", "clean"])
def test_the_authors_sample(protocol):
    """random.seed(0), then a tenth of train and of val from one generator (subsample.py of vlm_robustness@816b3be)."""
    drawn = draw(TRAIN, VAL, protocol)
    random.seed(0)
    train, val = random.sample(TRAIN, int(0.1 * len(TRAIN))), random.sample(VAL, int(0.1 * len(VAL)))
    assert (len(train), len(val)) == (44_375, 21_435)
    assert drawn.test == val
    assert drawn.train == (train + val if protocol == "paper" else train)


def test_paper_trains_on_its_validation_and_clean_does_not():
    paper, clean = draw(TRAIN, VAL, "paper"), draw(TRAIN, VAL, "clean")
    assert set(paper.val) == set(paper.test) <= set(paper.train)
    trained, chosen, tested = (set(part) for part in (clean.train, clean.val, clean.test))
    assert not trained & (chosen | tested) and not chosen & tested
    assert len(chosen) == len(tested) == 21_435


def test_a_list_of_443_752_gives_the_same_number():
    assert len(draw(TRAIN[:443_752], VAL, "clean").train) == 44_375


@pytest.mark.parametrize(
    ("options", "words"),
    [({"protocol": "papr"}, "clean, paper"), ({"train_share": 0}, "train_share=0"), ({"val_share": 0.6}, "≤ 0.5"),
     ({"train_share": True}, "train_share=True"), ({"train_share": 1e-9}, "no question is drawn from")],
)  # fmt: skip
def test_bad_options_are_named(options, words):
    with pytest.raises(DigrapError, match=words):
        draw(TRAIN[:100], VAL[:100], **{"protocol": "clean", **options})


def test_leakage_is_counted_by_id_by_text_and_by_picture():
    train = [ask(1, "coco:1", "Is it red?"), ask(2, "coco:2", "How many?"), ask(3, "coco:3", "Who?", origin="")]
    test = [
        ask(1, "coco:1", "Is it red?"),  # the very question
        ask(9, "coco:2", "how  MANY", origin=""),  # the same words about the same picture
        ask(8, "coco:2", "Where?", origin="1"),  # a rephrasing
        ask(7, "coco:7", "How many?"),  # another picture
        ask(6, "coco:3", "Why?"),  # a seen picture
        ask(5, "coco:8", "Who?", origin=""),  # no origin is no match
    ]
    assert leakage(train, {"test": test})["test"] == {
        "questions": 6, "by_id": 2, "by_text": 2, "questions_leaked": 3, "pictures": 5, "pictures_leaked": 3,
        "questions_on_leaked_pictures": 4,
    }  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.sampled_from(["a b", "A, b!", "c"]))), st.integers(0, 8)
)
def test_leakage_against_comparing_all_pairs(rows, cut):
    records = [ask(number, f"coco:{picture}", text) for number, picture, text in rows]
    train, test = records[:cut], records[cut:]
    found = leakage(train, {"t": test})["t"]
    by_id = [any(a.origin == b.origin for b in train) for a in test]
    by_text = [any(words(a.question) == words(b.question) and a.picture == b.picture for b in train) for a in test]
    assert (found["by_id"], found["by_text"]) == (sum(by_id), sum(by_text))
    assert found["questions_leaked"] == sum(a or b for a, b in zip(by_id, by_text, strict=True))
    assert found["pictures_leaked"] == len({a.picture for a in test} & {b.picture for b in train})


def config(made, *overrides):
    return compose(["dataset=vqav2", f"data_root={made.data_root}", "dataset.train_share=0.5", "dataset.val_share=0.3",
                    *overrides])  # fmt: skip


def test_paper_has_a_caveat_and_its_leakage_is_counted(made):
    data = build_data(config(made, "dataset.protocol=paper"))
    found = data.about()["leaks"]
    assert data.protocol == "paper, sample=official-order, shares=0.5/0.3" and len(data.caveats) == 2
    for name in ("vqav2", "vqav2_val"):
        assert found[name]["by_id"] == found[name]["questions"] == found[name]["questions_leaked"]
    assert found["vqa_rephrasings"]["by_id"] and found["vqa_cp"]["by_id"] and found["vqa_ce"]["by_id"]
    assert found["vizwiz"]["pictures_leaked"] == found["textvqa"]["questions_leaked"] == 0
    assert {row["left_out"] for row in found.values()} == {0}
    exact = ["dataset.protocol=paper", "dataset.source=lists", "dataset.train_share=0.1", "dataset.val_share=0.1"]
    assert build_data(config(made, *exact)).protocol == "paper, sample=lists"
    assert len(build_data(config(made, *exact)).caveats) == 1


@pytest.mark.parametrize("source", ["official", "lists"])
def test_clean_has_no_leakage_and_counts_what_it_leaves_out(made, source):
    data = build_data(config(made, f"dataset.source={source}"))
    found = data.about()["leaks"]
    assert data.caveats == () and list(found) == [name for name in data.splits if name != "vqav2_train"]
    for row in found.values():
        assert row["questions_leaked"] == row["pictures_leaked"] == row["questions_on_leaked_pictures"] == 0
    assert {name for name, row in found.items() if row["left_out"]} == {"vqa_cp"}
    assert found["vqa_cp"]["questions"] == len(data.splits["vqa_cp"].load())
    picture, record = data.splits["vqav2"].load()[0]
    assert picture.mode == "RGB" and record.dataset == "vqav2"


def spoil_one(path, key, **change):
    data = json.loads(path.read_text())
    found = data[key] if key else data
    found[3].update(change)
    path.write_text(json.dumps(data))
    return str(found[3]["question_id"])


@pytest.mark.parametrize("source", ["official", "lists"])
def test_a_fault_in_vqav2_is_counted_and_leaves_the_rest_of_the_sample(made, tmp_path, source):
    shutil.copytree(made.data_root, tmp_path / "data")
    over = [f"dataset.source={source}", "dataset.train_share=0.9", f"data_root={tmp_path / 'data'}"]
    before = {r.id for r in build_data(config(made, *over)).splits["vqav2_train"].load().records}
    folder = tmp_path / "data" / "vqa" / "vqav2"
    if source == "lists":
        lost = spoil_one(folder / "vqa_train.json", None, answer=[])
    else:
        lost = spoil_one(folder / "v2_mscoco_train2014_annotations.json", "annotations", answers=[])
    data = build_data(config(made, *over))
    after = {r.id for r in data.splits["vqav2_train"].load().records}
    assert after == before - {lost}
    problems = data.about()["problems"]
    assert problems["VQAv2 train"]["question without answers (left out)"]["count"] == 1
    drawn = problems.get("vqav2_train", {}).get("drawn question that could not be read (left out)", {"count": 0})
    assert drawn["count"] == (lost in before)


def test_protocol_and_source_are_part_of_a_run(made):
    hashes = {run_hash(config(made, *over)) for over in ([], ["dataset.protocol=paper"], ["dataset.source=lists"])}
    assert len(hashes) == 3


def test_sets_that_are_not_there_are_named_with_the_command(made, tmp_path):
    with pytest.raises(DigrapError, match="advqa, cv_vqa.*dataset=vqa_all"):
        build_data(compose(["dataset=vqav2", f"data_root={tmp_path}"]))
    shutil.copytree(made.data_root, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "vqa" / "vizwiz")
    with pytest.raises(DigrapError, match="of vizwiz. .*dataset=vizwiz"):
        build_data(compose(["dataset=vqav2", f"data_root={tmp_path / 'data'}"]))
    without = compose(["dataset=vqav2", f"data_root={tmp_path / 'data'}", "~dataset.splits.vizwiz"])
    assert "vizwiz" not in build_data(without).splits


@pytest.mark.parametrize("source", ["official", "lists"])
def test_a_number_that_is_there_twice_is_one_question(made, tmp_path, source):
    shutil.copytree(made.data_root, tmp_path / "data")
    folder = tmp_path / "data" / "vqa" / "vqav2"
    for name, key in (("v2_OpenEnded_mscoco_val2014_questions.json", "questions"), ("vqa_val.json", None),
                      ("v2_mscoco_val2014_annotations.json", "annotations")):  # fmt: skip
        data = json.loads((folder / name).read_text())
        rows = data[key] if key else data
        rows.append({**rows[2], **({} if key == "annotations" else {"question": "Another?"})})
        (folder / name).write_text(json.dumps(data))
    over = [
        f"data_root={tmp_path / 'data'}",
        f"dataset.source={source}",
        "dataset.protocol=paper",
        "dataset.val_share=1",
    ]
    data = build_data(config(made, *over))
    found = [record.id for record in data.splits["vqav2"].load().records]
    assert len(found) == len(set(found)) == 120
    assert data.about()["problems"]["VQAv2 val"]["duplicate id (the first is kept)"]["count"] == 1


def test_a_part_of_vqav2s_own_splits_is_the_protocols(made):
    with pytest.raises(DigrapError, match="as the protocol divides it"):
        build_data(config(made, "+dataset.splits.vqav2_train.part=val"))


@pytest.mark.parametrize("builder", [vqa.build, vqa.build_own])
def test_unknown_keys_are_refused(builder, tmp_path):
    with pytest.raises(TypeError, match="trian_share"):
        builder(tmp_path, {}, trian_share=0.1)


def test_strict_stops_at_the_first_fault(made):
    with pytest.raises(DigrapError, match="empty question|ends in /"):
        build_data(config(made, "dataset.strict=true")).about()


@pytest.mark.parametrize("name", ["vqav2", "vqa_json", "domainnet_ovqa"])
def test_a_backbone_for_another_task_is_refused_before_anything_is_fetched(tmp_path, name):
    cfg = compose([f"dataset={name}", "backbone=mini_resnet", f"data_root={tmp_path}"])
    OmegaConf.set_struct(cfg, False)
    refusal = (
        f"dataset={name}: its task is (vqa|naming), but backbone=mini_resnet is made for classification; .*: "
        "albef_vqa, blip_vqa, hf_vlm, llava_7b, paligemma_3b, tiny_albef, tiny_blip, tiny_llava, tiny_paligemma"
    )
    with pytest.raises(DigrapError, match=refusal):
        run(cfg, tmp_path / "run")
    with pytest.raises(DigrapError, match=refusal):
        rescore(OmegaConf.merge(cfg, {"run": None, "split": None, "out": None, "bundle": None}))


def test_check_leakage_prints_and_saves(made, tmp_path):
    shares = ["dataset.train_share=0.5", "dataset.val_share=0.3"]
    for protocol in ("paper", "clean"):
        out = tmp_path / f"{protocol}.json"
        done = call(
            "scripts/check_leakage.py", f"protocol={protocol}", f"data_root={made.data_root}", f"out={out}", *shares
        )
        assert done.returncode == 0, done.stderr
        saved = json.loads(out.read_text())
        leaked = sum(row["questions_leaked"] for name, row in saved["leaks"].items() if name != "vqav2_val")
        assert f"{leaked:,} test questions are also training questions" in done.stdout and bool(leaked) == (
            protocol == "paper"
        )
        assert ("! the ID validation" in done.stdout) == (protocol == "paper") == bool(saved["caveats"])


def test_show_dataset_says_what_is_damaged_and_prints_any_text(made, tmp_path):
    root = shutil.copytree(made.data_root, tmp_path / "a (copy)")
    path = root / "vqa" / "vqav2" / "v2_mscoco_train2014_annotations.json"
    path.write_bytes(path.read_bytes()[:-20])
    for name in ("v2_OpenEnded_mscoco_val2014_questions.json",):
        text = (root / "vqa" / "vqav2" / name).read_text()
        data = json.loads(text)
        for question in data["questions"]:
            question["question"] = "Is it [red]red[/red]? \ud83d"
        (root / "vqa" / "vqav2" / name).write_text(json.dumps(data))
    done = call("scripts/show_dataset.py", "dataset=vqav2", f"data_root={root}", f"out={tmp_path / 'a.png'}")
    assert done.returncode == 0, done.stderr
    assert "1 × part that is left out" in done.stdout and "[red]red[/red]" in done.stdout
    done = call("scripts/check_leakage.py", "dataset=vqav2", f"data_root={root}", f"out={tmp_path}")
    assert done.returncode == 2 and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["dataset=vqav2", "dataset.protocol=paper"], "does not apply to VQA sets"),
     (["dataset=vqav2", "seed=a"], "seed=a"),
     (["dataset=textvqa", "undo_rotation=maybe"], "undo_rotation=maybe"), (["dataset=vqa_c"], "nearest: vqa_c"),
     (["dataset=minidomainnet", "source=lists"], "apply only to VQA sets")],
)  # fmt: skip
def test_show_dataset_refuses_what_it_does_not_take(arguments, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["show_dataset.py", *arguments])
    assert door(show_dataset.main) == 2 and words in capsys.readouterr().err


def test_show_dataset_counts_and_draws(made, tmp_path):
    for name in ("vqa_cp", "vqa_all"):
        out = tmp_path / f"{name}.png"
        done = call("scripts/show_dataset.py", f"dataset={name}", f"data_root={made.data_root}", f"out={out}")
        assert done.returncode == 0, done.stderr
        (line,) = (line for line in done.stdout.splitlines() if line.startswith("│ vqa_cp test"))
        assert line.split("│")[3].strip() == str(len(made.expected["vqa_cp/test"]))
        assert out.stat().st_size > 10_000
