"""What a projection did, in words, from known statistics of layers."""

import json
from dataclasses import replace

import pytest

from digrap.report.findings import findings
from digrap.report.layers import readable
from digrap.report.scores import gather
from tests.synthetic_runs import script


def log_layers(folder, tensors):
    """Two records of every tensor: (ω, share removed, ‖δ‖) at both; without ω and share where they are None."""
    names = ("omega", "removed", "norm")
    own = {name: {key: value for key, value in zip(names, values, strict=True) if value is not None}
           for name, values in tensors.items()}  # fmt: skip
    lines = [{"event": "layers", "epoch": epoch, "step": 10 * epoch, "tensors": own} for epoch in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def said(demo, outputs):
    """Statistics of DiGraP's layers (and of the baseline's) → the lines."""
    table, cells = demo

    def make(digrap, vanilla=None):
        for cell in cells["DiGraP"]:
            log_layers(cell.folder(outputs), digrap)
        for cell in cells["vanilla, lr 1e-3"] if vanilla else ():
            log_layers(cell.folder(outputs), vanilla)
        scores = gather(table, outputs)
        known = [replace(run, results=replace(run.results, method="digrap" if run.row == "DiGraP" else "other"))
                 for run in scores.runs]  # fmt: skip
        return findings(replace(scores, source=replace(scores.source, runs=known)))

    return make


PLAIN = {f"layer{k}.weight": (None, None, norm) for k, norm in enumerate((6.0, 8.0, 0.0, 0.0, 0.0))}


def test_two_sentences_with_the_numbers(said):
    own = {"layer0.weight": (0.0, 0.0, 3.0), "layer1.weight": (0.05, 0.004, 4.0), "layer2.weight": (0.1, 0.004, 0.0),
           "layer3.weight": (0.3, 0.008, 0.0), "layer4.weight": (0.5, 0.02, 0.0)}  # fmt: skip
    assert said(own, PLAIN) == [
        "DiGraP: ω ended at 0.19 on average over all layers, largest in layer4 (0.50) and layer3 (0.30), smallest in "
        "layer0 (0.00) and layer1 (0.05). The projection took 0.4 % of a tensor's gradient energy in the median and "
        "2 % at most (layer4.weight), little because ω is small and δ is one direction of the many; the weights ended "
        "0.50 times as far from the pre-trained ones as with vanilla, lr 1e-3."
    ]


def test_a_fixed_strength_and_a_large_share(said):
    own = {name: (1.0, 0.3, norm) for name, (*_, norm) in PLAIN.items()}
    (line,) = said(own)
    assert line == (
        "DiGraP: ω is 1.00 in every layer. The projection took 30 % of a tensor's gradient energy in the median and "
        "30 % at most (layer0.weight)."
    )


def test_why_little_was_taken_depends_on_the_strength(said):
    (none,) = said({name: (0.0, 0.0, norm) for name, (*_, norm) in PLAIN.items()})
    assert none == "DiGraP: ω is 0.00 in every layer. The projection took nothing."
    (fixed,) = said({name: (1.0, 0.001, norm) for name, (*_, norm) in PLAIN.items()})
    assert fixed.endswith("(layer0.weight), little because δ is one direction of the many.")


def test_vision_and_language_apart(said):
    strengths = {"vision_tower.layers.0.a": 0.1, "vision_tower.layers.0.b": 0.3, "language_model.layers.0.a": 0.8}
    (line,) = said({f"{layer}.weight": (omega, 0.02, 1.0) for layer, omega in strengths.items()})
    assert "0.20 on average over vision layers and 0.80 on average over language layers" in line
    assert "largest in language 0.a (0.80), smallest in vision 0.a (0.10)" in line


def test_names_of_adapters_are_short(said):
    stems = ("visual_encoder.blocks.{}.attn.qkv", "text_decoder.bert.encoder.layer.{}.crossattention.self.key")
    names = [stem.format(block) for stem in stems for block in (0, 1)]
    strengths = dict(zip(names, (0.1, 0.2, 0.3, 0.4), strict=True))
    (line,) = said({f"{name}.lora_B.default.weight": (omega, omega, 1.0) for name, omega in strengths.items()})
    assert "largest in language text_decoder.1.crossattention.key (0.40)" in line
    assert "smallest in vision 0.qkv (0.10)" in line
    assert "at most (language text_decoder.1.crossattention.key.lora_B)" in line


def test_a_short_name_of_two_is_given_to_none():
    names = ["a.layer.0.key", "a.blocks.0.key", "self"]
    assert readable(names) == dict(zip(names, names, strict=True))


def test_what_was_not_measured_is_said(said):
    assert said(PLAIN) == ["DiGraP: what it projected was not measured; its runs have no statistics of layers."]


def test_make_tables_prints_it_and_the_file_has_it(outputs, tmp_path, capsys, monkeypatch):
    words = ["table=demo", f"outputs={outputs}", f"out={tmp_path / 'out'}"]
    monkeypatch.setattr("sys.argv", ["make_tables.py", *words])
    script("make_tables").main()
    assert "DiGraP: ω ended at 0.60 on average" in capsys.readouterr().out
    text = (tmp_path / "out" / "demo.md").read_text()
    assert "What was seen:\n\n- DiGraP: ω ended at 0.60" in text
    assert "ω ended" not in (tmp_path / "out" / "demo.tex").read_text()
