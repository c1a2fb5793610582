"""Any vision-language model of transformers, by its name on the Hugging Face hub or by its folder: PaliGemma, LLaVA."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
)

from digrap.core.errors import DigrapError
from digrap.models.backbone import Backbone, check_image_size
from digrap.models.hub_model import find_model, model_to_fetch, provenance
from digrap.models.lora_layers import freeze_unused
from digrap.models.vlm import QUESTION, VLMAnswering, takes, wants_type_ids
from digrap.models.weights import last_line

log = logging.getLogger(__name__)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
BACKENDS = ("torchvision", "pil")


def hf_vlm(
    num_classes: int = 0,
    classes: Sequence[str] = (),
    *,
    model: str | None,
    prompt: str,
    train_prompt: str | None = None,
    chat: bool | None = None,
    revision: str | None = None,
    dtype: str = "bf16",
    image_size: int | None = None,
    image_backend: str = "torchvision",
    gradient_checkpointing: bool = False,
) -> Backbone:
    """transformers' `model` with its processor; classes are not used: it answers in words.

    `model` is a folder or a name on the hub, there at `revision`. Weights are held in `dtype`. `prompt` and
    `train_prompt` have {question}; the picture comes first unless they say where. With `chat` they are what a user
    says, and the processor's chat template puts the picture in; None: where the processor has one. `image_size` is the
    checkpoint's own, or None. `image_backend` prepares pictures by torchvision or PIL, whose pixels differ.
    `gradient_checkpointing` computes activations twice, for less memory. Raises DigrapError for an option that does not
    fit, a model that is missing, gated, damaged, or none that answers questions, and a processor that does not fit it.
    """
    _check_options(model, chat, dtype, image_backend, gradient_checkpointing)
    check_image_size(image_size)
    folder = find_model(str(model), revision)
    config, make = _config(model, folder), partial(_processor, folder, image_backend)
    processor = _made(model, make)
    chat = _has_template(processor) if chat is None else chat
    written = partial(_chat, model, processor) if chat else partial(_with_picture, processor)
    prompt, train_prompt = (text if text is None else written(text) for text in (prompt, train_prompt))
    log.info("%s: the prompt is %r, %s chat template", model, prompt, "by its processor's" if chat else "without a")
    with torch.device("meta"):
        shell = AutoModelForImageTextToText.from_config(config)
    by_answer = wants_type_ids(shell)
    own_types = takes(shell, "token_type_ids") and not by_answer
    answering = VLMAnswering(make, prompt, by_answer, train_prompt, own_type_ids=own_types)
    _check_fit(model, shell, answering, image_size)
    module = _load(model, folder, DTYPES[dtype])
    freeze_unused(module)
    if gradient_checkpointing:
        module.activation_checkpointing_enable({"use_reentrant": False})
        module.enable_input_require_grads()  # frozen embeddings: else checkpoints have nothing to differentiate
    about = {**provenance(str(model), folder), "image_processor": _name(processor)}
    return Backbone(module, None, head=_head(module), answering=answering, provenance=about)


def find_weights(model: str | None, revision: str | None = None) -> None:
    """Find or fetch the model's files. Raises DigrapError as `hf_vlm` where they cannot be had."""
    if model:
        find_model(str(model), revision)


def weights_to_fetch(model: str | None, revision: str | None = None) -> str:
    """What `find_weights` would fetch, as a sentence; "" where there is nothing to fetch."""
    return model_to_fetch(str(model), revision) if model else ""


def _check_options(model: str | None, chat: bool | None, dtype: str, backend: str, checkpointing: bool) -> None:
    if not model:
        raise DigrapError(
            "backbone.model=null: give a folder, or a model of the Hugging Face hub such as google/paligemma-3b-pt-224"
        )
    for name, value, known in (("dtype", dtype, DTYPES), ("image_backend", backend, BACKENDS)):
        if value not in known:
            raise DigrapError(f"backbone.{name}={value}: choose one of {', '.join(known)}")
    if not isinstance(chat, bool | None):
        raise DigrapError(f"backbone.chat={chat}: give true, false, or null: true where the processor has a template")
    if not isinstance(checkpointing, bool):
        raise DigrapError(f"backbone.gradient_checkpointing={checkpointing}: give true or false")


def _config(model: str, folder: Path) -> Any:
    """The model's config. Raises DigrapError where it is damaged or of a model that does not answer about pictures."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers, json and its validators have no base class in common
        raise DigrapError(
            f"backbone.model={model}: {folder / 'config.json'} is not readable ({last_line(error)}); fetch it again"
        ) from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise DigrapError(
            f"backbone.model={model}: transformers has no model of type {config.model_type} that answers questions "
            "about a picture; use one that does, such as google/paligemma-3b-pt-224"
        )
    return config


def _processor(folder: Path, backend: str) -> Any:
    return AutoProcessor.from_pretrained(folder, local_files_only=True, backend=backend)


def _made(model: str, make: Any) -> Any:
    try:
        return make()
    except Exception as error:  # transformers, tokenizers and json have no base class in common
        raise DigrapError(
            f"backbone.model={model}: its processor cannot be loaded ({last_line(error)}); fetch the model's files "
            "again"
        ) from error


def _with_picture(processor: Any, prompt: str) -> str:
    """A prompt with the picture's token, in front where it says no other place."""
    token = getattr(processor, "image_token", "<image>")
    return prompt if token in str(prompt) else f"{token}{prompt}"


def _has_template(processor: Any) -> bool:
    return getattr(processor, "chat_template", None) is not None


def _chat(model: str, processor: Any, prompt: str) -> str:
    """A prompt as the processor's chat template writes it, up to where the model is to answer."""
    if not _has_template(processor):
        raise DigrapError(f"backbone.chat=true: {model} has no chat template; give backbone.chat=false")
    said = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
    text, tokenizer = processor.apply_chat_template(said, add_generation_prompt=True), processor.tokenizer
    if tokenizer.bos_token and tokenizer(QUESTION).input_ids[:1] == [tokenizer.bos_token_id]:
        text = text.removeprefix(tokenizer.bos_token)  # the tokenizer writes one itself
    return text


@torch.no_grad()
def _check_fit(model: str, shell: nn.Module, answering: VLMAnswering, image_size: int | None) -> None:
    """Raise DigrapError unless the processor makes of each picture what the model (`shell`, on the meta device) takes:
    its resolution, and as many tokens as it has features."""
    own = getattr(getattr(shell.config, "vision_config", None), "image_size", None)
    if image_size is not None and image_size != own:
        raise DigrapError(
            f"backbone.image_size={image_size}: {model} was trained at {own} pixels; give that or null, or take a "
            "checkpoint of your resolution (google/paligemma-3b-pt-448, for example)"
        )
    found = _two_pictures(model, answering)
    pixels = found.get("pixel_values")
    size = None if pixels is None else tuple(pixels.shape[-2:])
    if isinstance(own, int) and size not in (None, (own, own)):
        raise DigrapError(
            f"backbone.model={model}: its processor makes pictures of {size[0]} x {size[1]} pixels, but the model was "
            f"trained at {own}; use the model and processor of one checkpoint"
        )
    wanted = _features(shell, pixels)
    given = int((found["input_ids"][0] == getattr(shell.config, "image_token_id", None)).sum()) if wanted else None
    if given != wanted:
        raise DigrapError(
            f"backbone.model={model}: its processor writes {given} tokens for a picture, but the model has {wanted} "
            "features of one; give backbone.prompt one <image>, and model and processor of one checkpoint"
        )


def _two_pictures(model: str, answering: VLMAnswering) -> dict[str, torch.Tensor]:
    """What the processor makes of two questions; `answering.nested` is set where it wants a list of pictures for each,
    as those of Gemma 3 and Idefics 3. Raises DigrapError where it takes neither."""
    errors = []
    for nested in (False, True):
        answering.nested = nested
        try:
            return answering.encode([Image.new("RGB", (400, 100)), Image.new("RGB", (30, 40))], ["a", "b"])
        except DigrapError:
            raise
        except Exception as error:  # processors check what they are given each in their own way
            errors.append(error)
    raise DigrapError(
        f"backbone.model={model}: its processor does not take a picture with backbone.prompt={answering.prompt!r} "
        f"({last_line(errors[0])}); give the prompt that the model's page shows, with {QUESTION} and one <image>"
    ) from errors[0]


def _features(shell: nn.Module, pixels: torch.Tensor | None) -> int | None:
    """How many tokens of a picture the model has; None where it wants more than pixels: it then checks them itself."""
    try:
        found = shell.get_image_features(pixels[:1].to("meta", shell.dtype)).pooler_output
        return sum(len(part) for part in found)
    except Exception:  # each model has arguments of its own
        return None


def _load(model: str, folder: Path, dtype: torch.dtype) -> nn.Module:
    """The model with its weights. Raises DigrapError for files that are damaged or lack some of them."""
    log.info("loading %s", folder)
    try:
        module, found = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True, attn_implementation="sdpa"
        )
    except Exception as error:  # safetensors, transformers and torch have no base class in common
        raise DigrapError(
            f"backbone.model={model}: the weights in {folder} cannot be loaded ({last_line(error)}); fetch them again"
        ) from error
    for kind in ("missing_keys", "mismatched_keys"):
        if keys := sorted(map(str, found[kind])):
            raise DigrapError(
                f"backbone.model={model}: the weights in {folder} do not fit the model ({kind.replace('_', ' ')}: "
                f"{', '.join(keys[:3])}; {len(keys)} in all); fetch them again"
            )
    if keys := sorted(found["unexpected_keys"]):
        log.warning(
            "%s: %d tensors were not loaded, because the model does not have them (%s first)",
            folder,
            len(keys),
            keys[0],
        )
    return module


def _head(module: nn.Module) -> tuple[str, ...]:
    """The name of the layer that gives the logits."""
    output = module.get_output_embeddings()
    return tuple(name for name, layer in module.named_modules() if layer is output)


def _name(processor: Any) -> str:
    """The image processor's class and what it computes with."""
    images = processor.image_processor
    return f"{type(images).__name__} ({getattr(images, 'backend', 'unknown')})"
