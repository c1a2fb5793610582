"""A run on the page: scores, curves, config, provenance, the command that makes it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from digrap.core.errors import DigrapError
from digrap.report.figures import as_svg
from digrap.report.page.gallery import Shown
from digrap.report.marks import COLOURS
from digrap.report.page.command import overrides_of, train_command
from digrap.report.page.found import Found
from digrap.runs.results import Results


@dataclass(frozen=True)
class RunPart:
    """What the page says of a run. `notes` are what could not be drawn, and why."""

    found: Found
    title: str
    command: str | None
    curves: bytes | None
    config: str | None
    provenance: dict[str, str]
    samples: list[Shown]
    notes: list[str]

    @property
    def results(self) -> Results:
        return self.found.run.results


class Curves:
    """Draws loss and ID validation of run after run in one figure, which is set up once."""

    def __init__(self):
        self.figure = Figure(figsize=(8, 2.3))
        self.figure.subplots_adjust(left=0.06, right=0.99, bottom=0.2, top=0.88, wspace=0.14)
        self.panels = self.figure.subplots(1, 2)

    def draw(self, records: list[dict[str, Any]], metric: str, best: int | None) -> bytes | None:
        """The SVG of a log of metrics; None where it has neither losses nor validations."""
        series = {
            "training loss": [(r["epoch"], r["loss"]) for r in records if r["event"] == "train"],
            f"ID validation, {metric} (%)": [
                (r["epoch"], r[metric]) for r in records if r["event"] == "val" and metric in r
            ],
        }
        if not any(series.values()):
            return None
        for axes, (title, points), colour in zip(self.panels, series.items(), COLOURS, strict=False):
            axes.clear()
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, marker=".", linewidth=1.5)
            axes.set_title(title, fontsize=9)
            axes.set_xlabel("epoch", fontsize=8)
            axes.tick_params(labelsize=8)
            axes.grid(alpha=0.3)
            chosen = [point for point in points if point[0] == best]
            if chosen and axes is self.panels[1]:
                axes.plot(*chosen[0], "o", ms=9, color=colour, fillstyle="none")
                axes.annotate("tested", chosen[0], textcoords="offset points", xytext=(-6, -14), fontsize=8, ha="right")
        return as_svg(self.figure)


def command_of(found: Found, known: Mapping[str, tuple[str, ...]]) -> str | None:
    """The command of a run: a table's, where one asks for it, else from its config; None where there is none."""
    identity = found.run.results.hash
    overrides = known.get(identity) or overrides_of(found.config, identity)
    return None if overrides is None else train_command(list(overrides))


def describe(
    found: Found, curves: Curves, known: Mapping[str, tuple[str, ...]], samples: tuple[list[Shown], str]
) -> RunPart:
    """All of a run but what needs its data, which is given."""
    results, notes = found.run.results, [samples[1]] if samples[1] else []
    drawn = None
    try:
        drawn = curves.draw(found.folder.metrics(), results.metric, results.selection["epoch"])
        if drawn is None:
            notes.append("No curves: the run logged no losses; nothing was trained, or the log is gone.")
    except (DigrapError, KeyError, TypeError, ValueError) as error:
        notes.append(f"No curves: {error}")
    try:
        config = found.folder.config_file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        config = None
    command = command_of(found, known)
    changed = command.removeprefix("python train.py ") if command else f"seed={results.seed}"
    return RunPart(found, changed, command, drawn, config, provenance(found), samples[0], notes)


def provenance(found: Found) -> dict[str, str]:
    """Where the run comes from, by name."""
    results, facts = found.run.results, found.folder.facts()
    dirty = {True: " with uncommitted changes", None: " (unknown whether clean)"}.get(results.dirty, "")
    lines = {
        "folder": str(found.folder.path), "commit": results.commit + dirty, "device": results.device,
        "versions": ", ".join(f"{name} {version}" for name, version in results.versions.items()),
        "protocol": results.protocol, "caveats": "; ".join(results.caveats), "started": facts.get("started"),
        "host": facts.get("host"), "wall time": _seconds(facts.get("wall_s")),
        "trained from": _start(results.start), "weights": results.weights, "weights, sha256": results.weights_sha256,
    }  # fmt: skip
    if isinstance(base := facts.get("weights"), dict):
        lines["pre-trained weights"] = ", ".join(f"{key} {value}" for key, value in base.items())
    return {name: str(value) for name, value in lines.items() if value}


def _seconds(value: Any) -> str | None:
    return None if value is None else f"{value:.0f} s"


def _start(start: dict[str, Any] | None) -> str | None:
    return start and f"{start['method']}, run {start['hash']}"
