"""PaliGemma-3B and LLaVA-1.5-7B in their real sizes, without weights: where LoRA's adapters are, and how many."""

import pytest

from tests.models.real_sizes import adapted, without_weights


@pytest.mark.parametrize(
    ("name", "targets", "modules", "vision"),
    [
        ("paligemma_3b", "authors", 153, 81),
        ("paligemma_3b", "card", 180, 108),
        ("llava_7b", "authors", 200 - 3, 72 - 3),
        ("llava_7b", "card", 224 - 4, 96 - 4),
    ],
)
def test_layers_with_adapters(name, targets, modules, vision):
    """Of LLaVA's 24 vision layers the last gets no gradient: it is left out."""
    found = adapted(name, targets)
    assert len(found) == modules
    assert len([layer for layer in found if "vision_tower" in layer]) == vision
    assert not [layer for layer in found if "llava" in name and ".layers.23." in layer and "vision_tower" in layer]


def test_paligemma_trains_as_many_numbers_as_the_authors():
    assert sum(param.numel() for pair in adapted("paligemma_3b", "authors").values() for param in pair) == 3_336_192


@pytest.mark.parametrize(("name", "numbers"), [("paligemma_3b", 2_923_466_480), ("llava_7b", 7_063_427_072)])
def test_full_fine_tuning_trains_all_but_what_has_no_gradient(name, numbers):
    module = without_weights(name).module
    frozen = [key for key, param in module.named_parameters() if not param.requires_grad]
    assert all("vision_tower" in key and (".layers.23." in key or "post_layernorm" in key) for key in frozen)
    assert bool(frozen) == (name == "llava_7b")
    assert sum(param.numel() for param in module.parameters()) == numbers
