"""Where a model's folder is looked for: a path, the cache, the hub; and what is said where none has it."""

import shutil
import time

import pytest
from huggingface_hub import constants

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.models.hub_model import PINNED, find_model, lacks, model_to_fetch, provenance, weight_files
from tests.models import tiny_hf

MODEL, COMMIT = "google/paligemma-3b-pt-224", "35e4f46485b4d07967e7e9935bc3786aad50687c"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_hf.paligemma(tmp_path_factory.mktemp("hub") / "tiny")


def fill(cache, folder, model=MODEL):
    """Put a folder into the cache as the hub's client does."""
    place = cache / f"models--{model.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    return shutil.copytree(folder, place / "snapshots" / COMMIT)


@pytest.mark.parametrize("revision", [COMMIT, "main", None])
def test_the_cache_needs_no_network(revision, cache, folder, hub, caplog):
    hub()
    place = fill(cache, folder)
    assert find_model(MODEL, revision) == place
    advised = f"revision main may change; it is now commit {COMMIT}, and backbone.revision={COMMIT} pins it"
    assert (advised in caplog.text) == (revision != COMMIT)
    found = provenance(MODEL, place)
    assert (found["source"], found["model"], found["revision"]) == ("Hugging Face hub", MODEL, COMMIT)


def test_a_folder_needs_neither(cache, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert find_model(str(folder), COMMIT) == folder
    assert find_model("tiny", None).samefile(folder) and "revision" not in provenance("tiny", folder)


def test_without_network_one_message_comes_at_once(cache, hub):
    hub()
    started = time.monotonic()
    with pytest.raises(DigrapError) as caught:
        find_model(MODEL, COMMIT)
    assert time.monotonic() - started < 20  # transformers' own retries take most of a minute
    text = str(caught.value)
    assert f"backbone.model={MODEL}: its weights are not complete in the local cache ({cache})" in text
    assert "could not be reached" in text and "11.7 GB; licence: Gemma's terms of use" in text
    assert f"`hf download {MODEL} --revision {COMMIT}` fetches them" in text


def test_what_would_be_fetched_is_said_without_asking(cache, hub, folder):
    hub(401, "GatedRepo")
    assert f"`hf download {MODEL} --revision {COMMIT}` fetches them" in model_to_fetch(MODEL, COMMIT)
    assert model_to_fetch(str(folder), None) == model_to_fetch("/no/such", None) == ""
    fill(cache, folder)
    assert model_to_fetch(MODEL, COMMIT) == ""


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        (401, "GatedRepo", rf"they are gated: accept their licence on https://huggingface.co/{MODEL}, then `hf aut"),
        (403, "GatedRepo", "they are gated"),
        (404, "RepoNotFound", "the hub shows no such repository: check the name"),
        (404, "RevisionNotFound", f"the repository has no revision {COMMIT}: backbone.revision=main is its newest"),
        (404, "EntryNotFound", "the repository has no config.json: it is not a model of tr"),
    ],
)
def test_the_hubs_refusals(code, name, message, cache, hub):
    hub(code, name)
    with pytest.raises(DigrapError, match=message):
        find_model(MODEL, COMMIT)


def test_offline_mode_asks_nobody(cache, hub, monkeypatch, folder):
    hub(401, "GatedRepo")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DigrapError, match="HF_HUB_OFFLINE is set: unset it to fetch them"):
        find_model(MODEL, COMMIT)
    fill(cache, folder)
    find_model(MODEL, COMMIT)


def test_a_cache_without_a_shard_is_not_taken(cache, folder, hub):
    hub()
    place = fill(cache, folder)
    shard = "model-00001-of-00002.safetensors"
    (place / "model.safetensors").rename(place / shard)
    index = '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    (place / "model.safetensors.index.json").write_text(index)
    assert lacks(place) == "model-00002-of-00002.safetensors"
    with pytest.raises(DigrapError, match="not complete in the local cache"):
        find_model(MODEL, COMMIT)
    shutil.copy(place / shard, place / "model-00002-of-00002.safetensors")
    assert find_model(MODEL, COMMIT) == place and len(weight_files(place)) == 2
    first = provenance(MODEL, place)["sha256"]
    (place / "model-00002-of-00002.safetensors").write_bytes(b"other")
    assert provenance(MODEL, place)["sha256"] != first
    (place / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(DigrapError, match="the index of weights cannot be read"):
        find_model(str(place), None)


@pytest.mark.parametrize("model", ["./nowhere", "~/no/such/folder", "/a/b", "a/b/c", "owner/na me"])
def test_what_looks_like_a_folder_is_not_asked_of_the_hub(model, cache, hub):
    hub(401, "GatedRepo")
    with pytest.raises(DigrapError, match="there is no such folder .*; give one, or a model of the Hugging Face hub"):
        find_model(model, None)


def test_a_commit_of_another_model_is_told_at_once(cache, folder):
    """Where backbone.model alone was changed."""
    place = fill(cache, folder, "google/paligemma-3b-pt-448")
    with pytest.raises(DigrapError, match=f"is a commit of {MODEL}; give one of .*, or backbone.revision=main"):
        find_model("google/paligemma-3b-pt-448", COMMIT)
    assert find_model("google/paligemma-3b-pt-448", "main") == place
    configs = [compose([f"backbone={name}"]).backbone for name in ("paligemma_3b", "llava_7b")]
    assert {config.revision: config.model for config in configs} == PINNED


def test_a_name_that_the_hub_cannot_have(cache):
    with pytest.raises(DigrapError, match="that is not a name on the hub .*: give owner/name"):
        find_model("a--b/c", None)
