"""Pre-training of the tiny vision-language models: captions first, then more and more questions; a second stage with
single pictures and places."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import safetensors.torch
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor

from digrap.cli.arguments import as_number, bare_keys
from digrap.core.errors import DigrapError
from digrap.core.files import sha256, write_atomically
from digrap.core.paths import CONFIGS, OUTPUTS, REPO
from digrap.core.progress import track
from digrap.data.mini.scenes import CHUNK
from digrap.data.mini.vqa.pretraining import PARTS, SINGLES, WORDS, Exam, Lesson, Share, exam, lesson
from digrap.engine.build import call_choice
from digrap.models.backbone import Backbone, Decoding
from digrap.models.tiny_vlm import WEIGHTS
from digrap.models.weights import WeightFile

DEFAULTS: dict[str, Any] = {
    "model": "tiny_paligemma",
    "start": None,  # a file within the repository: its weights are gone on from, in the second stage; null: random ones
    "out": None,  # a file within the repository: it names its own options; null: the one that is shipped
    "steps": 2500,
    "batch": 128,
    "lr": 2e-3,
    "weight_decay": 0.01,
    "asking_first": 0.0,  # the share of questions in the first lesson; it rises linearly
    "asking": 0.9,  # the share of questions at the end
    "facts": 0.15,  # the share of the questions that are about facts
    "places": 0.0,  # the share of the other questions, and of the captions, that are made to be about places
    "seed": 0,
    "device": "cpu",
    "threads": 1,
    "save_every": 100,  # steps
    "stop": None,  # the number of steps after which this start ends, for one that goes on later
    # Of 60 pictures each in a lesson, how many are of this style, have a written word, or are single symbols:
    "plain": 16, "clipart": 4, "sketch": 4, "painting": 4, "quickdraw": 0, "real": 0, "infograph": 0, "words": 5,
    "single": 2,
}  # fmt: skip
SECOND: dict[str, Any] = {
    "seed": 1, "steps": 2400, "asking_first": 0.3, "places": 0.3,
    "plain": 14, "clipart": 5, "sketch": 5, "painting": 5, "words": 4, "single": 16,
}  # fmt: skip
"""What is other by default in the second stage, which start=… begins."""
BESIDE_THE_RECIPE = ("device", "out", "save_every", "stop", "threads")
MEASURED = ("plain", "real", WORDS, SINGLES)  # "real" is the style of fine-tuning
log = logging.getLogger("pretrain_minivqa")


def main() -> None:
    """Pre-train, measure, write the weights and print their sha256."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = checked(bare_keys(sys.argv[1:], defaults(sys.argv[1:])))
    torch.set_num_threads(options.threads)
    start = time.monotonic()
    backbone = Training(options).run()
    if backbone is None:
        return
    measures = {style: measure(backbone, exam(options.seed, style)) for style in MEASURED}
    for style, found in measures.items():
        print(f"{style}: {_line(found)}")
    out = WEIGHTS[options.model] if options.out is None else REPO / options.out
    about = {"made_by": "tools/pretrain_minivqa.py", "options": OmegaConf.to_container(options), **measures}
    if options.start is not None:
        about["start_sha256"] = sha256(REPO / options.start)
    half = {name: value.half().cpu().clone() for name, value in backbone.module.state_dict().items()}
    content = safetensors.torch.save(half, {"about": json.dumps(about)})  # several notes would come in random order
    write_atomically(out, lambda file: file.write(content))
    print(f"{out}: {out.stat().st_size / 2**20:.2f} MB in {time.monotonic() - start:.0f} s")
    print(f'digrap/models/tiny_vlm.py: WEIGHTS_SHA256["{options.model}"] = "{sha256(out)}"')


def defaults(arguments: list[str]) -> dict[str, Any]:
    """Those of the stage that the arguments begin."""
    second = any(argument.startswith("start=") and argument != "start=null" for argument in arguments)
    return DEFAULTS | SECOND if second else DEFAULTS


def checked(options: DictConfig) -> DictConfig:
    """The options, if all are in range. Raises DigrapError otherwise."""
    if options.stop is not None:
        options.stop = as_number(options.stop)
    wanted = dict.fromkeys(("steps", "batch", "threads", "save_every"), 1) | dict.fromkeys(PARTS, 0)
    wanted |= {} if options.stop is None else {"stop": 1}
    for key, least in wanted.items():
        if not isinstance(options[key], int) or options[key] < least:
            raise DigrapError(f"{key}={options[key]}: give a whole number of at least {least}")
    for key, names in {"model": tuple(WEIGHTS), "device": ("cpu", "cuda")}.items():
        if options[key] not in names:
            raise DigrapError(f"{key}={options[key]}: choose one of {', '.join(names)}")
    for key in ("asking_first", "asking", "facts", "places", "lr", "weight_decay"):
        if not isinstance(options[key], float) or not 0 <= options[key] <= 1:
            raise DigrapError(f"{key}={options[key]}: give a number from 0 to 1")
    if CHUNK * sum(options[part] for part in PARTS) < options.batch:
        raise DigrapError(f"batch={options.batch}: more pictures than a lesson has; give more of {', '.join(PARTS)}")
    return options


class Training:
    """One pre-training, resumed where an earlier start with the same options has left it."""

    def __init__(self, options: DictConfig):
        self.options = options
        torch.manual_seed(options.seed)
        self.backbone = random_backbone(options.model)
        if options.start is not None:
            first_stage(options).load_into(self.backbone.module)
        module = self.backbone.module.to(options.device)
        params = [param for param in module.parameters() if param.requires_grad]
        self.optimizer = torch.optim.AdamW(params, lr=options.lr, weight_decay=options.weight_decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, options.lr, total_steps=options.steps)
        self.step = 0
        name = hashlib.sha256(self._recipe().encode()).hexdigest()[:10]
        self.file = OUTPUTS / "pretrain_minivqa" / f"{options.model}-{name}.pt"

    def run(self) -> Backbone | None:
        """The model after the last step; None where `stop` comes before it."""
        self._resume()
        options, taken, losses = self.options, self.options.save_every, []
        last = options.steps if options.stop is None else min(options.stop, options.steps)
        self.backbone.module.train()
        batches = self._batches(self.step, last)
        for step, batch in zip(track(range(self.step, last), options.model, unit="steps"), batches, strict=True):
            losses.append(self._train(batch))
            self.step = step + 1
            if self.step % taken == 0 or self.step == last:
                log.info("step %d of %d: loss %.3f", self.step, options.steps, np.mean(losses))
                losses = []
                self._save()
        return self.backbone if self.step == options.steps else None

    def _batches(self, first: int, stop: int) -> Iterator[Lesson]:
        """The batches of the steps `first` to `stop` - 1; the next lesson is drawn while one is learnt."""
        options = self.options
        parts = {part: options[part] for part in PARTS}
        each = CHUNK * sum(parts.values()) // options.batch  # steps of a lesson

        def drawn(number: int) -> Lesson:
            asking = options.asking_first + (options.asking - options.asking_first) * number * each / options.steps
            return lesson(options.seed, number, parts, Share(asking, options.facts, options.places))

        numbers = range(first // each, -(-stop // each))
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(drawn, numbers[0]) if numbers else None
            for number in numbers:
                whole = coming.result()
                if number + 1 in numbers:
                    coming = pool.submit(drawn, number + 1)
                for step in range(max(first, number * each), min(stop, (number + 1) * each)):
                    place = step % each * options.batch
                    yield whole.part(place, place + options.batch)

    def _train(self, batch: Lesson) -> float:
        answering = self.backbone.answering
        inputs = answering.encode(as_pictures(batch.images), *batch[1:])
        loss = answering.loss(self.backbone.module, placed(inputs, self.options.device))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.item()

    def _recipe(self) -> str:
        plain = OmegaConf.to_container(self.options)
        if plain["start"] is not None:
            plain["start"] = sha256(REPO / plain["start"])
        return str({key: value for key, value in plain.items() if key not in BESIDE_THE_RECIPE})

    def _save(self) -> None:
        parts = {"module": self.backbone.module, "optimizer": self.optimizer, "schedule": self.schedule}
        state = {name: part.state_dict() for name, part in parts.items()}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.file, lambda file: torch.save({**state, "step": self.step}, file))

    def _resume(self) -> None:
        if not self.file.exists():
            return
        try:
            state = torch.load(self.file, weights_only=True, map_location="cpu")
            for name, part in (
                ("module", self.backbone.module), ("optimizer", self.optimizer), ("schedule", self.schedule),
            ):  # fmt: skip
                part.load_state_dict(state[name])
            self.step = state["step"]
        except Exception as error:  # zip, pickle and torch have no base class in common
            raise DigrapError(f"{self.file} is damaged ({error}); delete it to start afresh") from error
        log.info("resumed at step %d from %s", self.step, self.file)


def random_backbone(model: str) -> Backbone:
    """A tiny model of this name with random weights and the prompts of its config; captions have up to 20 words."""
    config = OmegaConf.load(CONFIGS / "backbone" / f"{model}.yaml")
    backbone = call_choice("backbone", OmegaConf.merge(config, {"pretrained": False, "weights": None}))
    backbone.answering.decoding = Decoding(max_new_tokens=20)
    return backbone


def first_stage(options: DictConfig) -> WeightFile:
    """The file that the second stage starts from. Raises DigrapError where there is none."""
    makes = f"`python tools/pretrain_minivqa.py model={options.model} out={options.start}` makes it"
    return WeightFile.find(REPO / options.start, makes, option="start")


def as_pictures(images: Tensor) -> list[Image.Image]:
    """PIL images of uint8 (N, 3, H, W)."""
    return [Image.fromarray(image) for image in images.permute(0, 2, 3, 1).contiguous().numpy()]


def placed(inputs: dict[str, Tensor], device: str | torch.device) -> dict[str, Tensor]:
    """The tensors on a device."""
    return {name: value.to(device) for name, value in inputs.items()}


@torch.no_grad()
def measure(backbone: Backbone, of: Exam) -> dict[str, float]:
    """Share of exact answers in percent of each kind of question, and of those whose pictures were exchanged with those
    of other scenes ("shuffled …")."""
    pictures = as_pictures(of.images)
    shuffled = [*pictures[1:], *pictures[:1]]
    found = {}
    for prefix, seen in (("", pictures), ("shuffled ", shuffled)):
        answers = said(backbone, [seen[number] for number in of.pictures], of.questions)
        for kind in dict.fromkeys(of.kinds):
            rows = [k for k, other in enumerate(of.kinds) if other == kind]
            found[prefix + kind] = _percent([answers[k] for k in rows], [of.answers[k] for k in rows])
    return found


def said(backbone: Backbone, pictures: list[Image.Image], questions: list[str], batch: int = 300) -> list[str]:
    """The model's answers, found greedily."""
    backbone.module.eval()
    answers, device = [], next(backbone.module.parameters()).device
    for start in range(0, len(questions), batch):
        inputs = backbone.answering.encode(pictures[start : start + batch], questions[start : start + batch])
        answers += backbone.answering.generate(backbone.module, placed(inputs, device))
    return answers


def _percent(answers: list[str], expected: list[str]) -> float:
    return 100 * sum(answer == right for answer, right in zip(answers, expected, strict=True)) / len(expected)


def _line(measures: dict[str, float]) -> str:
    return ", ".join(f"{kind} {value:.1f}" for kind, value in measures.items())
