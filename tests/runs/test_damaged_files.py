"""Every damaged file of a run before every reader: one message or, where the reader does not need the file, what it
prints of a whole one; nothing else is touched."""

import pytest

from digrap.report import figures
from digrap.tables import spec
from digrap.tables.spec import Table
from tests.runs.damage import DAMAGES, DONE, READERS, SHAPES, STOPPED, VARIANTS, make_world, read
from tests.synthetic_runs import CELLS, script

REFUSED, ALIKE, LESS = "one message", "as on a whole file", "another text, rc 0"
SOME = ("missing", "binary", "folder")  # damages tried where the reader does not need the file
JSON = {**DAMAGES, **SHAPES}
SMALL = {**SHAPES, "missing": DAMAGES["missing"], "cut": DAMAGES["cut"]}
FINISHED = ("evaluate", "export", "make_tables", "compare", "train", "clean", "status")
GOING_ON = ("train_stopped", "status", "clean")

# file in the folder of which run: damages, its readers, which of these need it
ROWS = {
    "results.json": (DONE, JSON, FINISHED, ("evaluate", "export", "make_tables", "compare", "train")),
    "config.yaml": (DONE, JSON, FINISHED, ("evaluate", "export")),
    "run.json": (DONE, {**DAMAGES, "[]": SHAPES["[]"]}, FINISHED, ()),
    "data.json": (DONE, DAMAGES, FINISHED, ()),
    "metrics.jsonl": (DONE, DAMAGES, FINISHED, ("make_tables",)),
    "predictions.npz": (DONE, DAMAGES, FINISHED, ("make_tables", "compare")),
    "../labels/*.npz": (DONE, DAMAGES, FINISHED, ("make_tables", "compare")),
    "checkpoints/best-epoch-*.safetensors": (DONE, DAMAGES, FINISHED, ("evaluate", "export")),
    "config.yaml of a stopped run": (STOPPED, DAMAGES, GOING_ON, ()),
    "run.json of a stopped run": (STOPPED, DAMAGES, GOING_ON, ()),
    "metrics.jsonl of a stopped run": (STOPPED, DAMAGES, GOING_ON, ()),
    "checkpoints/step-*3/state.pt": (STOPPED, DAMAGES, GOING_ON, ("train_stopped",)),
    "checkpoints/step-*3/manifest.json": (STOPPED, JSON, GOING_ON, ("train_stopped",)),
    "checkpoints/best-epoch-*.safetensors of a stopped run": (STOPPED, DAMAGES, GOING_ON, ("train_stopped",)),
    "variants.json": (VARIANTS, SMALL, ("train_variants", "status"), ("train_variants",)),
    "manifest.json": (None, JSON, ("verify", "compare_published"), ("verify",)),
    "runs/RUN.json": (None, JSON, ("verify", "compare_published"), ("verify", "compare_published")),
    "runs/RUN.npz": (None, DAMAGES, ("verify", "compare_published"), ("verify", "compare_published")),
    "runs/RUN.history.npz": (None, DAMAGES, ("verify", "compare_published"), ("verify",)),
    "labels/*.npz": (None, DAMAGES, ("verify", "compare_published"), ("verify", "compare_published")),
}
# Where a damage does something else than its row says.
OTHER = {
    ("results.json", "missing", "make_tables"): LESS,  # the run is missing, and said to be
    ("results.json", "missing", "status"): LESS,
    ("results.json", "missing", "train"): ALIKE,  # made again
    ("metrics.jsonl", "missing", "make_tables"): LESS,  # a run without statistics of layers, which the table says
    ("metrics.jsonl", "empty", "make_tables"): LESS,
    **{("predictions.npz", damage, "export"): LESS for damage in SOME[1:]},  # scores that cannot be checked are noted
    **{("../labels/*.npz", damage, "export"): LESS for damage in SOME},
    **{(f"run.json{whose}", damage, "status"): LESS for whose in ("", " of a stopped run") for damage in JSON},
    **{(f"{name} of a stopped run", "folder", "train_stopped"): REFUSED
       for name in ("config.yaml", "run.json", "metrics.jsonl")},  # it cannot be written
    ("variants.json", "missing", "train_variants"): ALIKE,  # every variant is tested
    ("variants.json", "{}", "train_variants"): ALIKE,
}  # fmt: skip
CASES = [  # a damage that no reader minds is tried where it is one of SOME
    (name, damage) for name, (_, damages, _, need) in ROWS.items() for damage in damages if need or damage in SOME
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The world before any damage, and what each reader prints of it."""
    root, plain = tmp_path_factory.mktemp("whole"), Table.cell

    def cell(self, row, seed, chosen=()):  # composing a config takes 0.15 s
        made = plain(self, row, seed, chosen)
        return CELLS.setdefault((made.row, made.overrides), made)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spec, "CONFIGS", root / "configs")
        patch.setattr(script("clean"), "CONFIGS", root / "configs")
        patch.setattr(figures, "as_png", lambda figure: b"")
        patch.setattr(Table, "cell", cell)
        world, printed = make_world(root / "world", root / "data"), {}
        for reader in READERS:
            copy = world.copy(root / reader)
            printed[reader] = read(reader, copy)
            assert printed[reader][0] == 0, printed[reader]
        yield world, printed


def place(world, name):
    """The file of a row."""
    folder = world.published / "small" if ROWS[name][0] is None else world.run(ROWS[name][0])
    (file,) = folder.glob(name.partition(" of a ")[0].replace("RUN", world.run(DONE).name))
    return file.parent.resolve() / file.name


@pytest.mark.parametrize(("name", "damage"), CASES, ids=lambda value: value.replace("/", ":"))
def test_one_message_or_the_right_result(whole, tmp_path, name, damage):
    _, damages, readers, need = ROWS[name]
    copies = {}
    for reader in readers:
        expected = OTHER.get((name, damage, reader), REFUSED if reader in need else ALIKE)
        if expected != REFUSED and reader not in need and damage not in SOME:
            continue
        kind = "trained" if reader.startswith("train") else "read"  # what only reads leaves the world as it is
        if kind not in copies:
            world = whole[0].copy(tmp_path / kind)
            copies[kind] = world, place(world, name)
            damages[damage](copies[kind][1])
        check(reader, *copies[kind], expected, whole[1][reader][1])


def check(reader, world, file, expected, on_whole):
    """Call a reader: it does what is expected, and loses nothing."""
    before, (code, out, err) = world.files(), read(reader, world)
    shown, after = f"{reader}: {code}\n{out}\n{err}", world.files()
    assert "Traceback" not in err and code == (2 if expected == REFUSED else 0), shown
    if expected == REFUSED:
        assert err.startswith("error: ") and err.count("error: ") == 1, shown
        assert str(file.relative_to(world.root.resolve()).parent) in err, shown
        assert reader == "verify" or err.count("\n") == 1, shown  # verify lists all that differs
    else:
        assert (out == on_whole) == (expected == ALIKE), shown
    if expected == REFUSED or not reader.startswith("train"):
        changed = {path for path, data in after.items() if before.get(path) != data}
        allowed = {"run.json", "error.txt", "config.yaml"} if reader in ("train_stopped", "train_variants") else set()
        assert before.keys() <= after.keys() and {path.rpartition("/")[2] for path in changed} <= allowed, shown
