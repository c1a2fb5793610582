"""The pictures of a table, drawn from run folders and from published files alike."""

import dataclasses
import io

import pytest
from PIL import Image

from digrap.core.errors import DigrapError
from digrap.report import figures
from digrap.report.publish import from_published, publish
from digrap.report.scores import gather, tally
from digrap.runs.folder import RunFolder
from digrap.runs.history import history_of


def histories_of(cells, outputs):
    found = [history_of(RunFolder(cell.folder(outputs))) for cell in cells]
    return [history for history in found if history is not None]


def test_omega_over_training(demo, outputs, tmp_path):
    _, cells = demo
    histories = {row: histories_of(cells[row], outputs) for row in cells}
    curve = figures._mean_over_seeds(histories["DiGraP"])
    assert list(curve.columns) == ["conv1.weight", "layer1.0.weight", "fc.weight"]
    assert curve["layer1.0.weight"].tolist() == pytest.approx([0.0, 0.2, 0.4, 0.6])
    picture = Image.open(io.BytesIO(figures.as_png(figures.omega_over_training(histories, "t"))))
    assert picture.width > 600 and len(set(picture.convert("L").resize((60, 40)).tobytes())) > 10
    assert figures.omega_over_training({"zero-shot": histories["zero-shot"]}, "t") is None


def test_models_with_other_parts_have_a_legend_each(demo, outputs):
    own = histories_of(demo[1]["DiGraP"], outputs)
    other = [dataclasses.replace(one, tensors=tuple(f"m.{name}.x" for name in "abc")) for one in own]
    figure = figures.omega_over_training({"a": own, "b": own, "c": other}, "t")
    legends = [axes.get_legend() for axes in figure.axes]
    named = [legend and [text.get_text() for text in legend.get_texts()] for legend in legends]
    assert named == [None, ["conv1", "layer1", "fc"], ["a", "b", "c"]]


def test_a_damaged_log_is_named(demo, outputs):
    table, cells = demo
    path = cells["DiGraP"][0].folder(outputs) / "metrics.jsonl"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DigrapError, match="metrics.jsonl, line 4, is damaged"):
        figures.draw(gather(table, outputs))


def test_a_published_table_draws_the_same_pictures(demo, outputs, tmp_path):
    """ω over training is redrawn from the published histories alone."""
    scores = gather(demo[0], outputs)
    pictures = {name: figures.as_png(figure) for name, figure in figures.draw(scores).items()}
    place, _ = publish(scores, {f"demo_{name}.png": data for name, data in pictures.items()}, tmp_path / "results")
    assert len(list((place / "runs").glob("*.history.npz"))) == 3
    published = tally(from_published(place))
    assert {name: figures.as_png(figure) for name, figure in figures.draw(published).items()} == pictures
    assert set(pictures) == {"id_ood", "omega"}


def test_a_fixed_omega_is_no_curve(demo, outputs):
    (first, *_) = histories_of(demo[1]["DiGraP"], outputs)
    fixed = dataclasses.replace(first, values={**first.values, "omega": first.values["omega"] * 0 + 1})
    without = dataclasses.replace(first, values={"norm": first.values["norm"]})
    assert figures.omega_over_training({"a": [fixed], "b": [without], "c": []}, "t") is None
