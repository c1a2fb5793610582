"""LAVIS's BLIP and ALBEF classes under today's transformers and timm: import this before any module of lavis.

salesforce-lavis 1.0.2 is written for packages of 2022. What its four model files need of them is put in place here; its
own `lavis/__init__.py`, which imports thirty packages more, is passed over. docs/lavis.md has the reason of each piece.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

import torch
from transformers import GenerationMixin, modeling_utils, pytorch_utils
from transformers.utils import logging


def _stub(name: str, **content) -> ModuleType:
    """A module of this name with this content, in place of one that is not imported."""
    module = sys.modules[name] = ModuleType(name)
    module.__dict__.update(content)
    parent, _, last = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], last, module)
    return module


__all__ = [
    "AlbefVQA", "BaseEncoder", "BertLMHeadModel", "BertPreTrainedModel", "BlipVQA", "VisionTransformerEncoder",
    "XBertEncoder", "XBertLMHeadDecoder", "interpolate_pos_embed",
]  # fmt: skip

_spec = importlib.util.find_spec("lavis")
FOLDER = Path(_spec.submodule_search_locations[0])
_stub("lavis", __path__=[str(FOLDER)], __spec__=_spec)
_models = _stub("lavis.models", __path__=[str(FOLDER / "models")])
for _name in ("fairscale", "fairscale.nn", "fairscale.nn.checkpoint"):
    _stub(_name, __path__=[])
_stub("fairscale.nn.checkpoint.checkpoint_activations", checkpoint_wrapper=lambda layer: layer)
modeling_utils.apply_chunking_to_forward = pytorch_utils.apply_chunking_to_forward
modeling_utils.prune_linear_layer = pytorch_utils.prune_linear_layer
modeling_utils.find_pruneable_heads_and_indices = None  # imported, never called
_verbosity = logging.get_verbosity()

with warnings.catch_warnings(action="ignore", category=FutureWarning):  # old names of timm's modules
    from lavis.common.registry import registry
    from lavis.models.base_model import BaseEncoder, BaseModel

    registry.register_path("library_root", str(FOLDER))
    _models.BaseModel = BaseModel  # what the registry compares models with

    from lavis.models.albef_models.albef_vqa import AlbefVQA
    from lavis.models.blip_models.blip_vqa import BlipVQA
    from lavis.models.med import BertLMHeadModel, BertPreTrainedModel, XBertEncoder, XBertLMHeadDecoder
    from lavis.models.vit import VisionTransformerEncoder, interpolate_pos_embed
logging.set_verbosity(_verbosity)  # med.py silences transformers


def _init_weights(self) -> None:
    self.apply(self._init_weights)
    if (head := self.get_output_embeddings()) is not None:
        head.weight = self.bert.embeddings.word_embeddings.weight


def _expand_inputs(expand_size: int = 1, is_encoder_decoder: bool = False, input_ids=None, **inputs):
    """The tokens repeated for each beam; LAVIS's callers repeat what the encoder gives themselves."""
    return input_ids.repeat_interleave(expand_size, dim=0), inputs


BertPreTrainedModel.init_weights = _init_weights
BertPreTrainedModel.get_head_mask = lambda self, mask, layers: [None] * layers
BertPreTrainedModel.invert_attention_mask = lambda self, mask: (
    (1.0 - mask[:, None, None, :].to(self.dtype)) * torch.finfo(self.dtype).min
)
BertLMHeadModel.__bases__ = (BertPreTrainedModel, GenerationMixin)
BertLMHeadModel._expand_inputs_for_generation = staticmethod(_expand_inputs)
logging.get_logger("transformers.utils.generic").addFilter(lambda record: "`past_key_values`" not in str(record.msg))
