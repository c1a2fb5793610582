"""Names and paths of the command line mean what was typed, whatever characters are in them."""

import shlex
import subprocess
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from digrap.cli import door
from digrap.cli.arguments import bare_keys, with_overrides
from digrap.cli.judge import parse
from digrap.config.compose import compose
from digrap.config.overrides import as_typed
from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.tables.spec import Cell, load_table
from tests.doors import call

ORDINARY = [
    "/tmp/ü", "[x]", "{a: b}", "a: b", "a=b", "/tmp/a=b/c", "it's", 'say "x"', "#1", "a b", " a ", "a,b", "(x)", "x(1)",
    "~/x", "$HOME", "{x", "a]", "😀", "007", "1e3", "true", "1_0", "nan", "a\\", "a&b;c|d", "%`^<>!", "str(1)",
    "\u00a0",
]  # fmt: skip
PARSER = OverridesParser.create()
CHARACTERS = st.one_of(
    st.text(st.sampled_from("ab/ '\"\\$}()[],:=ä1.0#~&;😀-+_"), min_size=1, max_size=10),
    st.text(st.characters(exclude_categories=["C"], exclude_characters="{"), min_size=1, max_size=10),
)


def only_hydras(text):
    """Whether a text has a meaning of Hydra's own: quotes around it, an escape, a function, null."""
    plain = text.strip()
    return plain.lower() == "null" or not plain or plain[0] in "'\"" or "\\" in text or "(" in text


@pytest.mark.parametrize("text", ORDINARY)
@pytest.mark.parametrize("key", ["data_root", "dataset.root", "hydra.run.dir", "optim.file", "+dataset.splits.x.file"])
def test_a_path_is_the_text_that_was_typed(key, text):
    (read,) = PARSER.parse_overrides([as_typed(f"{key}={text}")])
    assert read.value() == text and not read.is_sweep_override()


@settings(deadline=None, max_examples=150)
@given(CHARACTERS)
@example("a\\'b")
def test_any_path_is_taken_by_train_and_passed_on_by_sweeps_and_shells(text):
    word = as_typed(f"data_root={text}")
    (read,) = PARSER.parse_overrides([word])
    assert as_typed(word) == word
    assert read.value() == text or only_hydras(text)
    (passed,) = PARSER.parse_overrides([f"data_root={read.get_value_element_as_str()}"])  # as Hydra's sweeper does
    assert passed.value() == read.value()
    python, door, pasted = shlex.split(Cell("row", 0, (word,)).command)
    assert (python, door, as_typed(pasted)) == ("python", "train.py", word)


def test_the_command_of_a_cell_survives_bash_and_is_the_same_run(tmp_path):
    path = f'{tmp_path}/a b\'s "#1" [x] ü $HOME'
    cell = Cell("row", 0, ("dataset=folder", as_typed(f"dataset.root={path}"), "seed=0"))
    printed = subprocess.run(["bash", "-c", f"printf '%s\\0' {cell.command}"], capture_output=True, text=True).stdout
    pasted = printed.split("\0")[2:-1]
    assert compose(list(map(as_typed, pasted))).dataset.root == path == cell.config.dataset.root


@pytest.mark.parametrize("argument", [
    "optim=spd,digrap", "optim.mu=0.1,1", "split=[a,b]", "seed=1e3", "~optim.mu", "--cfg", "-m", "dataset.root=null",
    "dataset.root='a b'", 'dataset.root="x,y"', "dataset.root=${data_root}/x", "dataset.root=choice(a,b)",
    "data_root=a\\ b", "optim.start={optim: lp}", "+dataset.splits.x={folder: a, kind: far_ood}", "table=10",
    "trainer.base.betas=[0.9,0.99]", "optim.mu=range(1,3)", "/tmp/ü=a", "+optim.options.weights=[1,2]", "seed=",
])  # fmt: skip
def test_what_hydra_reads_stays(argument):
    assert as_typed(argument, several=True) == argument


def test_other_keys_are_quoted_only_where_hydra_cannot_read_them():
    assert as_typed("backbone.model=ü") == "backbone.model='ü'"
    with pytest.raises(DigrapError, match=r"split=\[ü\] cannot be read .*: put quotes around names"):
        as_typed("split=[ü]")
    assert PARSER.parse_override(as_typed("split=['ü']")).value() == ["ü"]  # the advice


def test_a_comma_separates_paths_under_m_unless_only_the_whole_exists(tmp_path):
    whole, parts = tmp_path / "a,b", [tmp_path / "x", tmp_path / "y"]
    whole.mkdir()
    assert PARSER.parse_override(as_typed(f"dataset.root={whole}", several=True)).value() == str(whole)
    two = f"dataset.root={parts[0]},{parts[1]}"
    assert as_typed(two, several=True) == two and PARSER.parse_override(as_typed(two)).value() == two[13:]
    for part in parts:
        part.mkdir()
    assert as_typed(two) == two, "without -m Hydra's own message says that this is a sweep"
    sweep = PARSER.parse_override(as_typed(f"dataset.root={tmp_path}/ü b,7", several=True))
    assert list(sweep.sweep_string_iterator()) == [f"'{tmp_path}/ü b'", "'7'"]
    assert PARSER.parse_override(as_typed("hydra.sweep.dir=a,b", several=True)).value() == "a,b"


@pytest.mark.parametrize(("argument", "message"), [
    ("dataset.root=/tmp/${x", "starts a reference"), ("dataset.root=", "the value is empty"),
    ("hydra.run.dir=", "leave hydra.run.dir out"), ("run=", "the value is empty"),
])  # fmt: skip
def test_what_is_no_path_is_one_message(argument, message):
    with pytest.raises(DigrapError, match=message):
        as_typed(argument)


def test_train_and_evaluate_look_where_they_are_told(tmp_path):
    missing = tmp_path / "it's [ü], #1 = {x}"
    done = call("train.py", "dataset=folder", f"dataset.root={missing}", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 2 and f"dataset.root={missing}: there is no such folder" in done.stderr
    done = call("evaluate.py", f"run={missing}")
    assert done.returncode == 2 and f"{missing} does not exist" in done.stderr


def test_a_run_lies_in_a_folder_of_any_name_and_is_swept_and_scored_there(small_arguments, tmp_path):
    place = tmp_path / "a b's [ü] #1 = {x}"
    words = [*small_arguments, "optim=zero_shot", f"data_root={tmp_path / 'd, ö'}"]
    done = call("train.py", "-m", *words, "seed=0,00", f"hydra.sweep.dir={place}")
    assert done.returncode == 0, done.stderr
    (folder,) = (path for path in place.glob("*") if (path / "results.json").exists())  # one run: 00 is 0
    done = call("evaluate.py", f"run={folder}", "split=sketch", f"out={place / 'scores, [1].json'}", "device=cpu")
    assert done.returncode == 0, done.stderr
    assert (place / "scores, [1].json").exists()


def test_the_advice_on_a_table_can_be_pasted(tmp_path, capsys, monkeypatch):
    table = tmp_path / "my table's.yaml"
    table.write_text("title: t\noverrides: [dataset=minidomainnet]\nseeds: [1]\nrows: {a: [optim=zero_shot]}\n")
    with pytest.raises(DigrapError) as error:
        door.check_single(compose_with(table))
    advised = str(error.value).rpartition("multirun: ")[2].replace("python", sys.executable, 1)
    done = subprocess.run(["bash", "-c", f"{advised} dry_run=true"], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0 and "0 of the 1 runs known" in done.stdout, done.stderr


def compose_with(table):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from digrap.core.paths import CONFIGS

    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return hydra_compose("train", overrides=[as_typed(f"table={table}")])


def test_overrides_of_tables_and_of_the_judge_are_quoted(tmp_path):
    table = tmp_path / "t.yaml"
    rows = "rows: {a: {overrides: [optim=zero_shot], grid: {dataset.root: [/tmp/é, 7]}}}"
    table.write_text(f"title: t\noverrides: [dataset=folder, 'data_root=/tmp/#ü']\nseeds: [1]\n{rows}\n")
    read = load_table(str(table))
    assert read.overrides == ("dataset=folder", "data_root='/tmp/#ü'")
    assert read.rows["a"].choices() == [("dataset.root='/tmp/é'",), ("dataset.root='7'",)]
    table.write_text(table.read_text().replace("data_root=/tmp/#ü", "data_root="))
    with pytest.raises(DigrapError, match=rf"{table}: data_root=: the value is empty"):
        load_table(str(table))
    assert parse(["method=a.py", "data_root=/tmp/ü b#"]).extra == ["data_root='/tmp/ü b#'"]


DEFAULTS = {"file": None, "out": "a", "n": 3, "share": 0.5, "flag": False}


@pytest.mark.parametrize(
    "text", [text for text in ORDINARY if text.strip()] + ["a: b.json", "[x].json", "yes", "null."]
)
def test_texts_of_scripts_stay_texts(text):
    assert bare_keys([f"file={text}", f"out={text}"], DEFAULTS) == {**DEFAULTS, "file": text, "out": text}
    assert bare_keys(["out=null", "file=null"], DEFAULTS) == {**DEFAULTS, "out": "null"}


@pytest.mark.parametrize(("argument", "value"), [
    ("n=010", 10), ("n=1_0", 10), ("n=[", "["), ("n=1.5", "1.5"), ("n={a: b}", "{a: b}"), ("share=.5", 0.5),
    ("share=1e-1", 0.1), ("flag=True", True), ("flag=no", False), ("flag=perhaps", "perhaps"),
])  # fmt: skip
def test_numbers_and_booleans_are_those_of_their_defaults(argument, value):
    assert bare_keys([argument], DEFAULTS)[argument.partition("=")[0]] == value


def test_overrides_that_scripts_pass_on_are_quoted():
    assert with_overrides(["n=1", "dataset.root=/tmp/ü#"], DEFAULTS)[1] == ["dataset.root='/tmp/ü#'"]


@pytest.mark.parametrize(("script", "argument"), [
    ("clean", "outputs="), ("status", "table="), ("status", "seeds="), ("status", "outputs= "), ("verify", "results="),
    ("make_tables", "out="), ("make_tables", "publish="), ("judge", "method="), ("score_vqa", "predictions="),
    ("show_dataset", "data_root="), ("show_dataset", "dataset.root="), ("gallery", "out="), ("export", "out="),
    ("download", "data_root="), ("compare", "split="), ("score_ovqa", "predictions="), ("check_leakage", "out="),
])  # fmt: skip
def test_an_empty_value_is_one_message(script, argument, monkeypatch, capsys):
    from tests.synthetic_runs import script as load

    monkeypatch.setattr(sys, "argv", [f"{script}.py", *(["run"] if script == "export" else []), argument])
    assert door.door(load(script).main) == 2
    assert f"{argument}: the value is empty" in capsys.readouterr().err


def test_a_run_folder_with_an_equals_sign_is_compared(tmp_path, monkeypatch):
    from tests.synthetic_runs import script

    monkeypatch.setattr(sys, "argv", ["compare.py", f"{tmp_path}/a=b", f"{tmp_path}/c=d"])
    with pytest.raises(DigrapError, match=rf"{tmp_path}/a=b is not a finished run"):
        script("compare").main()
