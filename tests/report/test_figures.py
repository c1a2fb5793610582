"""The pictures of a table, drawn from run folders and from published files alike."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from digrap.core.errors import DigrapError
from digrap.report import figures, layers, omega
from digrap.report.publish import from_published, publish
from digrap.report.scores import gather, tally
from digrap.runs.folder import RunFolder
from digrap.runs.history import history_of


def histories_of(cells, outputs):
    found = [history_of(RunFolder(cell.folder(outputs))) for cell in cells]
    return [history for history in found if history is not None]


def drawn(axes):
    """{label or colour: its values} of the lines of a panel."""
    return {line.get_label(): line.get_ydata().tolist() for line in axes.get_lines()}


def test_omega_over_training(demo, outputs):
    """One row of a model without vision: its layers by depth, from 0 at the start, and their mean."""
    histories = {row: histories_of(demo[1][row], outputs) for row in demo[1]}
    axes, side = omega.omega_over_training(histories, "t").axes
    lines = axes.get_lines()
    assert lines[1].get_ydata().tolist() == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert lines[0].get_xdata().tolist()[0] == 0 and axes.get_title() == "DiGraP"
    mean = [sum(values) / 3 for values in zip(*(line.get_ydata() for line in lines[:3]), strict=True)]
    assert drawn(axes)["mean over layers"] == pytest.approx(mean) and len({line.get_color() for line in lines}) == 4
    assert [tick.get_text() for tick in side.child_axes[0].get_yticklabels()] == ["first\nlayer", "last\nlayer"]
    assert omega.omega_over_training({"zero-shot": histories["zero-shot"]}, "t") is None


def test_rows_are_compared_and_vision_and_language_stand_apart(demo, outputs):
    """Fig. 9: ω of each µ in one panel a part, then every layer, a row of panels for each µ."""
    own = histories_of(demo[1]["DiGraP"], outputs)
    names = ("vision_tower.layers.0.q", "vision_tower.layers.1.q", "language_model.layers.0.q")
    low = [dataclasses.replace(one, tensors=names) for one in own]
    high = [dataclasses.replace(one, values={"omega": one.values["omega"] * 0.5}) for one in low]
    figure = omega.omega_over_training({"µ = 0.1": low, "LP": [], "µ = 1": high}, "t")
    columns = figure.axes[:3], figure.axes[3:6]
    panels = [axes for line in zip(*columns, strict=True) for axes in line]
    titles = [f"{row}{part}" for row in ("", "µ = 0.1, ", "µ = 1, ") for part in ("vision layers", "language layers")]
    assert [axes.get_title().removesuffix(", mean over layers") for axes in panels] == titles
    for part, axes in enumerate(panels[:2]):
        means = drawn(axes)
        assert means["µ = 1"] == pytest.approx([value / 2 for value in means["µ = 0.1"]])
        assert means["µ = 0.1"] == pytest.approx(drawn(panels[2 + part])["mean over layers"])
        assert len({line.get_color() for line in axes.get_lines()}) == 2
    assert [len(axes.get_lines()) for axes in panels[2:]] == [3, 2, 3, 2]
    named = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes[6:]]
    assert named == [["µ = 0.1", "µ = 1"], ["mean over layers"]]
    picture = Image.open(io.BytesIO(figures.as_png(figure)))
    assert picture.width > 1200 and len(set(picture.convert("L").resize((60, 40)).tobytes())) > 10


def test_every_panel_has_the_same_scale(demo, outputs):
    """Numbers stand at the left ones alone, and ω reaches its bound in one of the others."""
    (one, *_) = histories_of(demo[1]["DiGraP"], outputs)
    values = one.values["omega"] * 0.5
    values[-1, 2] = 1.0
    names = ("vision_tower.layers.0.q", "vision_tower.layers.1.q", "language_model.layers.0.q")
    one = dataclasses.replace(one, tensors=names, values={"omega": values})
    low = dataclasses.replace(one, values={"omega": values * 0.5})
    panels = omega.omega_over_training({"µ = 1": [one], "µ = 0.1": [low]}, "t").axes[:6]
    assert len({axes.get_ylim() for axes in panels}) == 1 and panels[0].get_ylim()[1] > 1


def test_a_row_is_drawn_as_it_is_alone(demo, outputs):
    """Many layers are taken together by block, each row's own: the notes' means are of the same layers."""
    (one, *_) = histories_of(demo[1]["DiGraP"], outputs)
    count = layers.MANY // 2 + 1
    models = {name: [f"{name}.layers.0.{k}.weight" for k in range(count)] for name in ("a", "b")}
    values = {"omega": np.tile(np.linspace(0, 1, count), (len(one.steps), 1))}
    histories = {name: [dataclasses.replace(one, tensors=tuple(own), values=values)] for name, own in models.items()}
    assert [len(axes.get_lines()) for axes in omega.omega_over_training(histories, "t").axes[1:3]] == [count + 1] * 2
    together = layers.by_layer(histories, "omega")["all layers"]  # on one axis
    assert [frame.shape[1] for frame in together.values()] == [1, 1]


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
    assert omega.omega_over_training({"a": [fixed], "b": [without], "c": []}, "t") is None
