"""What tests of open_clip share: a tiny model that it knows by name, with both kinds of GELU."""

import json

import open_clip
from open_clip import factory


def make_known(config, folder, monkeypatch):
    """`tiny` and `tiny-quickgelu` of this config are models of open_clip's until the test ends."""
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", list(factory._MODEL_CONFIG_PATHS))
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    folder.mkdir()
    for name, quick in (("tiny", False), ("tiny-quickgelu", True)):
        (folder / f"{name}.json").write_text(json.dumps(config | {"quick_gelu": quick}))
    open_clip.add_model_config(folder)
