"""A run on the page: scores, curves, config, provenance, the command that makes it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from digrap.core.errors import DigrapError
from digrap.report.figures import as_svg
from digrap.report.formats import EMPTY
from digrap.report.marks import COLOURS
from digrap.report.page.command import overrides_of, train_command
from digrap.report.page.found import Found
from digrap.report.page.gallery import Shown
from digrap.runs.results import Results
from digrap.runs.results_shape import is_number

SHOWN = ("dataset=", "backbone=", "optim=", "seed=", "dataset.seed=")  # what has a column of its own


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
    """Draws loss and ID validation of run after run in one figure: to set one up takes longer than to draw it."""

    def __init__(self):
        self.figure = Figure(figsize=(8, 2.3))
        self.figure.subplots_adjust(left=0.06, right=0.99, bottom=0.2, top=0.88, wspace=0.14)
        self.panels, self.lines = self.figure.subplots(1, 2), []
        for axes, colour in zip(self.panels, COLOURS, strict=False):
            self.lines += axes.plot([], [], color=colour, marker=".", linewidth=1.5)
            axes.set_xlabel("epoch", fontsize=8)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
            axes.tick_params(labelsize=8)
            axes.grid(alpha=0.3)
        (self.tested,) = self.panels[1].plot([], [], "o", ms=9, color=COLOURS[1], fillstyle="none")

    def draw(self, records: list[dict[str, Any]], metric: str, best: int | None) -> bytes | None:
        """The SVG of a log of metrics; None where it has neither losses nor validations."""
        losses, kind = losses_of([record for record in records if record["event"] == "train"])
        scores = [(record["epoch"], record[metric]) for record in records if record["event"] == "val"]
        if not losses and not scores:
            return None
        titles = (f"training loss, {kind}", f"ID validation, {metric} (%)")
        for axes, line, points, title in zip(self.panels, self.lines, (losses, scores), titles, strict=True):
            _set(line, points)
            axes.set_title(title, fontsize=9)
        _set(self.tested, [point for point in scores if point[0] == best])
        last = max(1.0, *(epoch for epoch, _ in [*losses, *scores]))
        for axes in self.panels:
            axes.relim()
            axes.autoscale_view()
            axes.set_xlim(-0.03 * last, 1.03 * last)
        return as_svg(self.figure)


def losses_of(records: list[dict[str, Any]]) -> tuple[list[tuple[float, float]], str]:
    """((epoch, loss) of a log's records, what each is the mean of): epochs, or where there is one, equally many steps.
    A record is the mean of the steps since the one before it, and an epoch's last one of what is left of it."""
    steps = np.array([record["step"] for record in records], int)
    loss, epochs = (np.array([record[key] for record in records], float) for key in ("loss", "epoch"))
    counts = np.diff(steps, prepend=0)
    most = counts == counts.max(initial=0)
    if len(set(np.ceil(epochs))) == 1 and most.sum() > 1:
        return list(zip(epochs[most], loss[most], strict=True)), f"mean of {counts.max()} steps"
    by_epoch = [np.ceil(epochs) == epoch for epoch in np.unique(np.ceil(epochs))]
    return [(epochs[of].max(), float(np.average(loss[of], weights=counts[of]))) for of in by_epoch], "mean of an epoch"


def _set(line: Line2D, points: list[tuple[float, float]]) -> None:
    line.set_data([x for x, _ in points], [y for _, y in points])


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
    words = shlex.split(command)[2:] if command else []
    changed = " ".join(word for word in words if not word.startswith(SHOWN)) or (EMPTY if command else "see its config")
    return RunPart(found, changed, command, drawn, config, provenance(found), samples[0], notes)


def provenance(found: Found) -> dict[str, str]:
    """Where the run comes from, by name."""
    results, facts = found.run.results, found.folder.facts()
    measured = results.measured or facts  # of runs made before, run.json alone has it
    dirty = {True: " with uncommitted changes", None: " (unknown whether clean)"}.get(results.dirty, "")
    lines = {
        "folder": str(found.folder.path), "commit": results.commit + dirty, "device": results.device,
        "versions": ", ".join(f"{name} {version}" for name, version in results.versions.items()),
        "protocol": results.protocol, "caveats": "; ".join(results.caveats), "started": facts.get("started"),
        "host": facts.get("host"), "wall time": _seconds(facts.get("wall_s")),
        "examples a second in tests": measured.get("evaluated_per_s"), "peak memory": _memory(measured),
        "trained from": _start(results.start), "weights": results.weights, "weights, sha256": results.weights_sha256,
    }  # fmt: skip
    if isinstance(base := facts.get("weights"), dict):
        lines["pre-trained weights"] = ", ".join(f"{key} {value}" for key, value in base.items())
    return {name: str(value) for name, value in lines.items() if value}


def _seconds(value: Any) -> str | None:
    return None if value is None else f"{value:.0f} s"


def _memory(measured: Mapping[str, Any]) -> str | None:
    peak = measured.get("peak_memory")
    names = {"host_mb": "host", "device_mb": "device"}
    found = peak if isinstance(peak, dict) else {}
    return ", ".join(f"{found[key]:.0f} MB on the {name}" for key, name in names.items() if is_number(found.get(key)))


def _start(start: dict[str, Any] | None) -> str | None:
    return start and f"{start['method']}, run {start['hash']}"
