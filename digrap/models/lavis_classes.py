"""LAVIS's BlipVQA and AlbefVQA on tokens that the loading processes made: their loss, their ranking, generated answers.

The loss and the ranking are the library's own code. What is corrected are three faults of it: generation attends to a
question's padding, ALBEF without its momentum twins cannot train, and its twins are updated in evaluation too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import BatchEncoding

from digrap.models.backbone import Decoding
from digrap.models.lavis_compat import AlbefVQA, BaseEncoder, BertPreTrainedModel, BlipVQA


def _first(module: nn.Module) -> Tensor:
    """A tensor of the module: momentum twins have no parameters to ask for device and type."""
    return next(value for value in chain(module.parameters(), module.buffers()) if value.is_floating_point())


BaseEncoder.device = property(lambda self: _first(self).device)
BertPreTrainedModel.dtype = property(lambda self: _first(self).dtype)

VISION = r"visual_encoder\.blocks\.\d+\.attn\.{}"
TEXT = (
    r"text_(encoder|decoder)\.(bert\.)?encoder\.layer\.\d+\.(attention|crossattention)\."
    r"(self\.(query|key|value)|output\.dense)"
)
FUSED, SPLIT = VISION.format("(qkv|proj)"), VISION.format(r"(qkv\.(query|key|value)|proj)")
ALL = f"{FUSED}|{TEXT}"
TWINS = ("visual_encoder_m", "text_encoder_m", "text_decoder_m")


class GivenTokens:
    """The tokenizer of a model whose texts are tokens already; a list of strings, that of candidates, is tokenised."""

    def __init__(self, tokenizer: Any, enc_token: str):
        self.tokenizer, self.enc_token_id = tokenizer, tokenizer.convert_tokens_to_ids(enc_token)

    def __getattr__(self, name: str) -> Any:
        if name == "tokenizer":  # not yet there, as copies are made
            raise AttributeError(name)
        return getattr(self.tokenizer, name)

    def __call__(self, texts: Mapping[str, Tensor] | Sequence[str], **options: Any) -> BatchEncoding:
        return BatchEncoding(dict(texts)) if isinstance(texts, Mapping) else self.tokenizer(texts, **options)


class SplitLinear(nn.Module):
    """A fused layer for q, k and v as three, so that each gets adapters of its own; the values are the fused one's."""

    def __init__(self, fused: nn.Linear):
        super().__init__()
        for place, name in enumerate(("query", "key", "value")):
            part = nn.Linear(fused.in_features, fused.out_features // 3, bias=fused.bias is not None, device="meta")
            part.weight = nn.Parameter(fused.weight.detach().chunk(3)[place].clone())
            if fused.bias is not None:
                part.bias = nn.Parameter(fused.bias.detach().chunk(3)[place].clone())
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, 3 · out): queries, keys, values."""
        return torch.cat([part(x) for part in self.children()], dim=-1)


class _OnTokens:
    """What both classes share. `inputs` are image float (N, 3, S, S), question and question_mask int64 (N, L), answer
    and answer_mask int64 (N, K)."""

    lora_targets: ClassVar = {"authors": ALL, "card": ALL, "split": f"{SPLIT}|{TEXT}", "language": TEXT}
    """Full names of the layers that `peft.targets` means: q, k, v and o of attention, never a momentum twin's."""

    def prepare_targets(self, targets: Any) -> None:
        """Make three layers of the vision tower's fused ones for `targets` split."""
        for block in self.visual_encoder.blocks if targets == "split" else ():
            block.attn.qkv = SplitLinear(block.attn.qkv)

    def use_tokenizer(self, tokenizer: Any, enc_token: str) -> None:
        """Give the model its tokenizer; BLIP's question begins with `enc_token`."""
        self.tokenizer = GivenTokens(tokenizer, enc_token)

    @classmethod
    def init_tokenizer(cls) -> None:
        """Load nothing, where the library would download a vocabulary."""

    def forward(self, **inputs: Tensor) -> Tensor:
        """Summed cross-entropy of each answer's tokens (label smoothing 0.1), mean over the N answers: 0-dim."""
        return super().forward(self.samples(inputs)).loss

    @staticmethod
    def samples(inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """The inputs as the library's batch: one answer a question, each of weight 1."""
        count = len(inputs["image"])
        tokens = {
            of: {"input_ids": inputs[of].clone(), "attention_mask": inputs[f"{of}_mask"]}  # the library writes into it
            for of in ("question", "answer")
            if of in inputs
        }
        weight = inputs["image"].new_ones(count)
        return {"image": inputs["image"], "text_input": tokens["question"], "answer": tokens.get("answer"),
                "weight": weight, "n_answers": [1] * count}  # fmt: skip

    @torch.no_grad()
    def rank(self, inputs: Mapping[str, Tensor], answers: list[str], candidates: int) -> list[str]:
        """The likeliest of `answers` for each of N questions, of the `candidates` whose first tokens are likeliest."""
        return self.ranking(self.samples(inputs), answers, min(candidates, len(answers)))

    @torch.no_grad()
    def generate(self, inputs: Mapping[str, Tensor], decoding: Decoding) -> Tensor:
        """Token ids int64 (N, K) of N answers, with the start token."""
        encoded = self.forward_encoder(self.samples(inputs))[0].last_hidden_state
        beams, tokens = decoding.beams, self.tokenizer
        start = torch.full((len(encoded), 1), tokens.bos_token_id, device=encoded.device)
        return self.text_decoder.generate(
            input_ids=start, max_new_tokens=decoding.max_new_tokens, num_beams=beams, do_sample=False,
            eos_token_id=tokens.sep_token_id, pad_token_id=tokens.pad_token_id,
            encoder_hidden_states=encoded.repeat_interleave(beams, dim=0),
            encoder_attention_mask=inputs["question_mask"].repeat_interleave(beams, dim=0),
        )  # fmt: skip


class Blip(_OnTokens, BlipVQA):
    """BLIP's model for visual question answering, see `_OnTokens`."""

    ranking = BlipVQA._rank_answers


class Albef(_OnTokens, AlbefVQA):
    """ALBEF's, see `_OnTokens`. Without `use_distill` it has no momentum twins and no distillation; with it the twins
    are buffers, so that nothing trains or adapts them and a run saves them."""

    ranking = AlbefVQA.rank_answers

    def __init__(self, *parts: nn.Module, **options: Any):
        super().__init__(*parts, **options)
        for name in TWINS if self.use_distill else ():
            for layer in getattr(self, name).modules():
                for key in list(layer._parameters):
                    _as_buffer(layer, key)

    @property
    def without_gradient(self) -> tuple[str, ...]:
        """The names of the momentum twins."""
        return TWINS if self.use_distill else ()

    def samples(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """As the library's batch; with the whole weight of the distillation from the first step on, which the library
        reaches at the end of the first epoch."""
        return {**_OnTokens.samples(inputs), "epoch": 1, "iters": 0, "num_iters_per_epoch": 1}

    def forward_decoder(self, samples: dict[str, Any], encoder_out: tuple, **options: Any) -> tuple:
        """Loss, output and labels; without twins those of BLIP, whose decoder is the same."""
        if self.use_distill:
            return super().forward_decoder(samples, encoder_out, **options)
        return BlipVQA.forward_decoder(self, samples, encoder_out[0], **options)

    @torch.no_grad()
    def copy_params(self) -> None:
        """Give the twins the model's own values."""
        self._average(0.0)

    @torch.no_grad()
    def _momentum_update(self) -> None:
        if self.training:
            self._average(self.momentum)

    def _average(self, momentum: float) -> None:
        for model, twin in self.model_pairs:
            theirs = twin.state_dict(keep_vars=True)
            for name, param in model.named_parameters(remove_duplicate=False):
                if "lora_" not in name:
                    kept = theirs[name.replace(".base_layer.", ".")]
                    kept.copy_(kept * momentum + param * (1.0 - momentum))


def _as_buffer(layer: nn.Module, key: str) -> None:
    if (param := layer._parameters.pop(key)) is not None:
        layer.register_buffer(key, param.detach().clone())
    else:
        layer._parameters[key] = None
