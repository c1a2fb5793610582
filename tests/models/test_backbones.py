"""The backbones' common contract: explicit options, image sizes, nearest names."""

import inspect

import pytest
from hydra.utils import get_method

from digrap.config.choices import choices
from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.engine.build import DESCRIPTIVE
from digrap.models.backbone import check_image_size, nearest_models


@pytest.mark.parametrize("name", choices("backbones"))
def test_a_builder_takes_the_keys_of_its_config_and_no_others(name):
    config = compose([f"backbone={name}"]).backbone
    keys, builder = set(config) - {*DESCRIPTIVE, "_target_"}, get_method(config._target_)
    given = {"num_classes", "classes", "cache"}  # by the engine, the last where the builder takes it
    assert inspect.signature(builder).parameters.keys() - given == keys - given
    with pytest.raises(TypeError, match="wieghts"):
        builder(num_classes=3, classes=("a", "b", "c"), wieghts=None, **dict.fromkeys({"pretrained"} & keys, False))


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "32"])
def test_image_sizes_are_whole_numbers(size):
    with pytest.raises(DigrapError, match=f"image_size={size}: give a whole number of pixels, or null"):
        check_image_size(size)
    with pytest.raises(DigrapError, match="whole number of pixels$"):
        check_image_size(size, default=False)


def test_no_image_size_is_the_models_own():
    check_image_size(None)
    check_image_size(1, default=False)
    with pytest.raises(DigrapError, match="image_size=None"):
        check_image_size(None, default=False)


def test_the_nearest_models_are_few():
    models = [f"resnet{n}" for n in range(500)]
    assert nearest_models("resnt50", models).startswith("nearest: resnet")
    assert nearest_models("zzz", models) == "nearest: resnet0, resnet1, resnet2"
