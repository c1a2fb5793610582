"""Test pictures for the page, read from the datasets of runs where these are there: nothing is drawn or downloaded."""

from __future__ import annotations

import io
import json
import shlex
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from omegaconf import OmegaConf
from PIL import Image

from digrap.config.compose import compose
from digrap.config.targets import check_targets
from digrap.core.errors import DigrapError
from digrap.data.splits import DataModule, Split
from digrap.engine.build import call_choice
from digrap.report.gather import Run
from digrap.report.page.command import dataset_options
from digrap.report.page.gallery import Example
from digrap.runs.folder import RunFolder

SMALL, LARGEST = 64, 320  # pixels: pictures up to the first are kept as they are, none is larger than the second
DRAWS, KEPT = "build", "kept"  # functions of a miniature's module; the second draws nothing


class Pictures:
    """Reads every dataset once: runs with one truth have one dataset."""

    def __init__(self):
        self._data: dict[str, DataModule | DigrapError] = {}  # by the truth of runs
        self._built: dict[str, DataModule] = {}  # by the dataset's config

    def examples(self, run: Run, split: str, places: Sequence[int]) -> list[Example]:
        """The examples at places of a split's predictions. Raises DigrapError where their data cannot be read."""
        part, labels = self._split(run, split), run.bundle.labels(split)
        try:
            loaded = part.load()
            at = {name: place for place, name in enumerate(loaded.ids)} if hasattr(loaded, "ids") else None
            ids, result = run.bundle.ids(split), []
            for place in places:
                picture, target = loaded[place if at is None else at[ids[place]]]
                if labels is not None and int(target) != labels[place]:
                    raise DigrapError(f"{run.results.dataset}: split {split} has changed since the run was tested")
                result.append(self._example(run, split, picture, target))
        except (OSError, KeyError, IndexError) as error:
            raise DigrapError(f"the pictures of {run.results.dataset} cannot be read ({error!r})") from error
        return result

    def answer(self, run: Run, split: str, place: int) -> str:
        """What the run answered: its text, or the name of its class."""
        answer = run.bundle.answers(split)[place]
        return answer if isinstance(answer, str) else self._module(run).classes_of(split)[int(answer)]

    def _example(self, run: Run, split: str, picture: Any, target: Any) -> Example:
        image = _image(picture)
        kind = "png" if max(image.size) <= SMALL else "jpeg"
        image.thumbnail((LARGEST, LARGEST))
        file = io.BytesIO()
        image.save(file, format=kind)
        if hasattr(target, "question"):
            answers = Counter(target.answers).most_common(3)
            truth = ", ".join(f"{answer} ({count})" for answer, count in answers)
            return Example(file.getvalue(), kind, image.width, target.question, truth)
        return Example(file.getvalue(), kind, image.width, None, self._module(run).classes_of(split)[int(target)])

    def _split(self, run: Run, split: str) -> Split:
        splits = self._module(run).splits
        if split not in splits:
            raise DigrapError(f"the dataset of run {run.results.hash} has no split {split!r} now")
        return splits[split]

    def _module(self, run: Run) -> DataModule:
        truth = run.bundle.truth
        if truth not in self._data:
            try:
                node = _dataset(run)
                key = json.dumps(node, sort_keys=True, default=str)
                self._data[truth] = self._built[key] = self._built.get(key) or _built(node)
            except DigrapError as error:
                self._data[truth] = error
        if isinstance(found := self._data[truth], DigrapError):
            raise found
        return found


def _built(node: dict[str, Any]) -> DataModule:
    """A dataset, each split loaded at most once, nothing of it drawn. Raises DigrapError where files are not there."""
    module, _, function = str(node.get("_target_")).rpartition(".")
    if function == DRAWS and hasattr(import_module(module), KEPT):
        command = shlex.join(["python", "scripts/show_dataset.py", *dataset_options(node)])
        node |= {"_target_": f"{module}.{KEPT}", "command": command}
    if "check_pictures" in node:
        node["check_pictures"] = False
    data = call_choice("dataset", OmegaConf.create(node))
    return DataModule({name: split.kept for name, split in data.splits.items()}, data.classes)


def _dataset(run: Run) -> dict[str, Any]:
    """The dataset's config: from the run's folder, or what the overrides of a published run compose to. Raises
    DigrapError where it calls unknown code."""
    folder = RunFolder(run.file.parent)
    cfg = folder.config() if folder.done() else compose(list(run.overrides))
    node = OmegaConf.to_container(cfg, resolve=False)["dataset"]
    check_targets({"dataset": node}, folder.config_file)
    return node


def _image(picture: Any) -> Image.Image:
    """A picture of a dataset, PIL or a uint8 tensor (3, H, W), in RGB."""
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    return Image.fromarray(picture.permute(1, 2, 0).numpy())
