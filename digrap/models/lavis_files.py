"""The files of LAVIS's models: published checkpoints, BERT's vocabulary, lists of candidate answers."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from torch import Tensor, nn

from digrap.core.errors import DigrapError
from digrap.data.download.fetch import Remote, fetch
from digrap.models.hub_model import Kind
from digrap.models.weights import WeightFile, account, last_line

DROPPED = {  # of checkpoints of pre-training, by prefix
    **dict.fromkeys(("visual_encoder_m.", "text_encoder_m.", "text_decoder_m."), "the momentum twins' values"),
    **dict.fromkeys(("vision_proj", "text_proj", "itm_head.", "temp"), "contrast and matching in pre-training"),
    **dict.fromkeys(("image_queue", "text_queue", "idx_queue", "queue_ptr"), "the queue of pre-training"),
    "text_encoder.embeddings.token_type_embeddings": "types of tokens, which LAVIS's class has not",
    "text_decoder.bert.embeddings.token_type_embeddings": "types of tokens, which LAVIS's class has not",
}
LAYER = re.compile(r"text_encoder\.encoder\.layer\.(\d+)\.(.*)")
MODEL_ALONE = (
    "import sys, torch; torch.save({'model': torch.load(sys.argv[1], weights_only=False)['model']}, sys.argv[2])"
)
VOCABULARY = "vocab.txt"
TOKENIZER = Kind(
    "backbone.tokenizer", "backbone.tokenizer", (VOCABULARY, "tokenizer_config.json"), VOCABULARY,
    lambda folder: "" if (folder / VOCABULARY).is_file() else VOCABULARY, "transformers", "its files", "tokenizer",
)  # fmt: skip


def weight_file(weights: str | None, url: str, folder: str) -> WeightFile:
    """The file `weights`, or where none is given that of `url`, kept in `folder` and fetched where it is not there.

    Raises DigrapError where there is no such file, and where none can be fetched.
    """
    place = Path(folder).expanduser() / PurePosixPath(urlsplit(url).path).name
    command = shlex.join(["curl", "-L", "-C", "-", "--create-dirs", "-o", str(place), url])
    fix = f"`{command}` fetches it, or give backbone.pretrained=false"
    if weights is not None:
        return WeightFile.find(weights, fix)
    if not place.is_file():
        try:
            fetch(Remote(url), place)
        except DigrapError as error:
            reason = str(error).removesuffix(", or give a mirror=URL").removesuffix("; give a mirror=URL")
            raise DigrapError(
                f"backbone.weights=null: {place} is not there and could not be fetched ({reason}); where there is a "
                f"network {fix}, or backbone.weights=FILE"
            ) from error
    return WeightFile.find(place, fix)


def load_checkpoint(file: WeightFile, module: nn.Module) -> None:
    """Load a checkpoint of LAVIS, of pre-training or fine-tuned, into `Blip` or `Albef`; a momentum twin gets the
    model's values. Position embeddings are interpolated to the model's resolution.

    Raises DigrapError for a damaged file, and for a key that is missing or that neither the model nor `DROPPED` has.
    """
    from digrap.models.lavis_classes import TWINS

    state = _read(file)
    own = {name: value for name, value in module.state_dict().items() if name.partition(".")[0] not in TWINS}
    if any(key.startswith("text_encoder.bert.") for key in state):
        state = of_albef(state)
    for name in own:  # constants, and a second name, that some files leave out
        if name.endswith(".position_ids"):
            state.setdefault(name, own[name])
        elif name.endswith(".decoder.bias") and (one := name.replace(".decoder.", ".")) in state:
            state.setdefault(name, state[one])
    _interpolate(state, module)
    found = account(state, own, dropped=DROPPED)
    file.check(found)
    module.load_state_dict({name: state[key] for key, name in found.loaded.items()}, strict=False)
    if hasattr(module, "copy_params") and module.use_distill:
        module.copy_params()


def _read(file: WeightFile) -> dict[str, Tensor]:
    """The file's tensors; its message has a command for one with more than tensors, whose code is never run here."""
    small = file.path.with_name(f"{file.path.stem}.tensors.pth")
    command = shlex.join(["python", "-c", MODEL_ALONE, str(file.path), str(small)])
    fix = f"`{command}` keeps the tensors of a file that you trust and that has more; or: {file.fix}"
    return replace(file, fix=fix).read()


def of_albef(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of ALBEF's pre-training under the names of its model for questions: the decoder begins as the fused
    half of the encoder, its head as that of the masked words."""
    found = {}
    for key, value in state.items():
        if not key.startswith("text_encoder."):
            found[key] = value
            continue
        name = key.replace(".bert.", ".", 1)
        if key.startswith("text_encoder.cls."):
            found[key.replace("text_encoder", "text_decoder", 1)] = value
            continue
        found[name] = value
        if not (layer := LAYER.fullmatch(name)):
            found[key.replace("text_encoder", "text_decoder", 1)] = value
        elif (place := int(layer[1]) - _fused(state)) >= 0:
            found[f"text_decoder.bert.encoder.layer.{place}.{layer[2]}"] = value
    return found


def bert_tokenizer(model: str, start: str, *special: str) -> Any:
    """BERT's tokenizer of a folder or of the hub, an answer's first token `start`, with further `special` tokens."""
    from transformers import BertTokenizer

    folder = TOKENIZER.find(model, None)
    try:
        made = BertTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers and json have no base class in common
        raise DigrapError(
            f"backbone.tokenizer={model}: {folder} is not readable ({last_line(error)}); fetch it again"
        ) from error
    made.add_special_tokens({"bos_token": start})
    if special:
        made.add_special_tokens({"additional_special_tokens": list(special)})
    return made


def read_answers(path: str | None, candidates: int) -> tuple[str, ...] | None:
    """The candidate answers in a file, a JSON list of texts such as LAVIS's answer_list.json; None without a file.

    Raises DigrapError for a file that is missing or holds anything else, and for `candidates` out of range.
    """
    if isinstance(candidates, bool) or not isinstance(candidates, int) or candidates < 1:
        raise DigrapError(f"backbone.candidates={candidates}: give a whole number of at least 1")
    if path is None:
        return None
    wanted = "give a file with a JSON list of texts, or backbone.answers=null to generate answers"
    try:
        found = json.loads(Path(path).expanduser().read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DigrapError(f"backbone.answers={path}: it cannot be read ({last_line(error)}); {wanted}") from error
    if not isinstance(found, list) or not found or not all(isinstance(text, str) and text.strip() for text in found):
        raise DigrapError(f"backbone.answers={path}: it holds no list of texts; {wanted}")
    return tuple(dict.fromkeys(found))


def _fused(state: Mapping[str, Tensor]) -> int:
    """The number of the encoder's first layer that sees the picture."""
    fused = [re.search(r"text_encoder\.bert\.encoder\.layer\.(\d+)\.crossattention\.", key) for key in state]
    return min((int(found[1]) for found in fused if found), default=0)


def _interpolate(state: dict[str, Tensor], module: nn.Module) -> None:
    from digrap.models.lavis_compat import interpolate_pos_embed

    name = "visual_encoder.pos_embed"
    if name in state and state[name].ndim == 3:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints the sizes
            state[name] = interpolate_pos_embed(state[name], module.visual_encoder)
