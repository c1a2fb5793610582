"""Tiny checkpoints in the hub's format: transformers' own models, processors, tokenizers of bytes, image processors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    SiglipImageProcessor,
    SiglipVisionConfig,
)

SIZE, PATCH = 28, 14
SPECIAL = ("<pad>", "<s>", "</s>", "<image>")
TURNS = (  # a template that writes the parts of what is said in their order
    "{%% for message in messages %%}[{{ message['role'] }}] {%% for part in message['content'] %%}"
    "{{ '%s' if part['type'] == 'image' else part['text'] }}{%% endfor %%}{%% endfor %%}"
    "{%% if add_generation_prompt %%}[model] {%% endif %%}"
)
LLAVA_CHAT = (  # as that of llava-hf/llava-1.5-7b-hf writes what a user says
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}{% for part in message['content'] | "
    "selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}{% for part in message['content'] | "
    "selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def tokenizer(starts: bool, **further: str) -> PreTrainedTokenizerFast:
    """A token a byte; `starts`: every text begins with <s>, as Llama's does. `further` special tokens by name."""
    special = (*SPECIAL, *further.values())
    letters = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    plain = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    if starts:
        plain.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        extra_special_tokens={"image_token": "<image>", **further},
    )  # fmt: skip


def _text(vocabulary: int) -> dict:
    return {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "vocab_size": vocabulary, "initializer_range": 0.3,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip


_VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "image_size": SIZE, "patch_size": PATCH,
}  # fmt: skip


def paligemma(folder: Path) -> Path:
    """PaliGemma with 2 vision and 2 language layers of width 32."""
    torch.manual_seed(0)
    images = SiglipImageProcessor(size={"height": SIZE, "width": SIZE})
    images.image_seq_length = (SIZE // PATCH) ** 2
    processor = PaliGemmaProcessor(images, tokenizer(starts=False))
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(**_VISION, num_hidden_layers=2, vision_use_head=False),
        text_config=GemmaConfig(**_text(len(processor.tokenizer))), projection_dim=32, image_token_index=3,
    )  # fmt: skip
    return _saved(PaliGemmaForConditionalGeneration(config), processor, folder)


def llava(folder: Path, size: int = SIZE) -> Path:
    """LLaVA with 3 vision layers, the last without use, and 2 language layers of width 32; `size` of its processor's
    pictures."""
    torch.manual_seed(0)
    images = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    processor = LlavaProcessor(
        images, tokenizer(starts=True), patch_size=PATCH, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=LLAVA_CHAT,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**_VISION, num_hidden_layers=3),
        text_config=LlamaConfig(**_text(len(processor.tokenizer))), image_token_index=3,
        image_seq_length=(SIZE // PATCH) ** 2, vision_feature_layer=-2, vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )  # fmt: skip
    return _saved(LlavaForConditionalGeneration(config), processor, folder)


def gemma3(folder: Path) -> Path:
    """Gemma 3 with 2 vision and 2 language layers: its token_type_ids mark the picture's tokens. It has a chat
    template."""
    torch.manual_seed(0)
    count = (SIZE // PATCH) ** 2
    words = tokenizer(starts=False, boi_token="<start_of_image>", eoi_token="<end_of_image>")
    images = Gemma3ImageProcessor(size={"height": SIZE, "width": SIZE})
    processor = Gemma3Processor(images, words, chat_template=TURNS % "<start_of_image>", image_seq_length=count)
    config = Gemma3Config(
        vision_config=SiglipVisionConfig(**_VISION, num_hidden_layers=2, vision_use_head=False),
        text_config=Gemma3TextConfig(**_text(len(words)), query_pre_attn_scalar=16), mm_tokens_per_image=count,
        image_token_index=3, boi_token_index=4, eoi_token_index=5,
    )  # fmt: skip
    module = Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(module.model.multi_modal_projector.mm_input_projection_weight)  # zeros: no picture is seen
    return _saved(module, processor, folder)


def qwen2_vl(folder: Path) -> Path:
    """Qwen2-VL with 2 vision and 2 language layers: pictures of any size, their patches one after another."""
    torch.manual_seed(0)
    words = tokenizer(starts=False, video_token="<video>", vision_bos_token="<see>", vision_eos_token="<seen>")
    size = {"shortest_edge": 28 * 28, "longest_edge": 6 * 28 * 28}
    template = TURNS % "<see><image><seen>"
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(size=size), words, Qwen2VLVideoProcessor(), chat_template=template
    )
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": PATCH}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0}
    text = {key: value for key, value in _text(len(words)).items() if key != "head_dim"}
    config = Qwen2VLConfig(
        vision_config=vision, text_config={**text, "rope_parameters": rope}, image_token_id=3, video_token_id=4,
        vision_start_token_id=5, vision_end_token_id=6,
    )  # fmt: skip
    return _saved(Qwen2VLForConditionalGeneration(config), processor, folder)


def _saved(module: torch.nn.Module, processor, folder: Path) -> Path:
    module.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


MAKERS = {"paligemma_3b": paligemma, "llava_7b": llava}
EACH = ["paligemma_3b", pytest.param("llava_7b", marks=pytest.mark.slow)]  # for tests that take seconds
