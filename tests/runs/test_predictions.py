"""Prediction bundles: exact round trips, equal bytes for equal content, and errors that name what is wrong."""

import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digrap.core.errors import DigrapError
from digrap.runs.predictions import labels_file, read_bundle, truth_digest, truth_of, write_bundle

LABEL = np.array([3, 1, 2, 300])
SPLITS = {"real": {"prediction": np.array([3, 1, 0, 7]), "probability": np.full(4, 0.5, np.float32)}}
TRUTH = {"real": {"label": LABEL}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "predictions.npz"


def test_classes(path, tmp_path):
    digest = write_bundle(path, SPLITS, TRUTH)
    bundle = read_bundle(path, tmp_path)
    assert bundle.splits == ("real",) and bundle.truth == digest == truth_of(path)
    assert bundle.answers("real").dtype == np.uint8 and bundle.answers("real").tolist() == [3, 1, 0, 7]
    assert bundle.labels("real").dtype == np.uint16 and bundle.probabilities("real").dtype == np.float16
    assert bundle.ids("real") == ["0", "1", "2", "3"] and bundle.metrics("real") == ["accuracy"]
    scores = bundle.example_scores("real")
    assert scores.dtype == np.float64 and scores.tolist() == [1, 1, 0, 0]


def test_the_digest_of_labels_is_the_one_of_format_1():
    """Label files of earlier bundles keep their names."""
    assert truth_digest({"real.label": LABEL, "a.label": np.array([[1]], np.uint8)}) == "efe99ef141"


def test_strings_with_scores(path, tmp_path):
    answers, ids = ["yes", "", "naïve “\n\0 😀", "\ud800"], ["q1", "q2/7", "q3", "ß"]
    soft = [0.3, 0.6, 0.9, 1 / 3]
    write_bundle(
        path, {"a": {"prediction": answers, "score.m4c": soft, "score.official": np.ones(4)}}, {"a": {"id": ids}}
    )
    bundle = read_bundle(path, tmp_path)
    assert bundle.answers("a") == answers and bundle.ids("a") == ids and bundle.labels("a") is None
    assert bundle.metrics("a") == ["m4c", "official"] and bundle.example_scores("a", "m4c").tolist() == soft
    with pytest.raises(DigrapError, match="no scores 'm4d' of split a; nearest: m4c"):
        bundle.example_scores("a", "m4d")
    with pytest.raises(DigrapError, match="no scores 'accuracy' of split a; valid: m4c, official"):
        bundle.example_scores("a")
    assert all(name.endswith((".npy", ".json")) for name in zipfile.ZipFile(path).namelist())


def test_a_stored_accuracy_counts(path, tmp_path):
    write_bundle(path, {"a": {**SPLITS["real"], "score.accuracy": [0.5] * 4}}, {"a": {"label": LABEL}})
    assert read_bundle(path, tmp_path).example_scores("a").tolist() == [0.5] * 4


TEXTS = st.lists(st.text(), min_size=1, max_size=5)


@settings(max_examples=50, deadline=None)
@given(TEXTS, st.data())
def test_every_text_comes_back(tmp_path_factory, answers, data):
    path = tmp_path_factory.mktemp("bundle") / "run" / "p.npz"
    ids = data.draw(st.lists(st.text(), min_size=len(answers), max_size=len(answers)))
    scores = data.draw(st.lists(st.floats(0, 1), min_size=len(answers), max_size=len(answers)))
    write_bundle(path, {"a": {"prediction": answers, "score.s": scores}}, {"a": {"id": ids}})
    bundle = read_bundle(path, path.parent.parent)
    assert (bundle.answers("a"), bundle.ids("a")) == (answers, ids)
    assert bundle.example_scores("a", "s").tolist() == scores


def test_equal_content_is_equal_bytes(path, tmp_path):
    entry = {"prediction": ["a"], "score.b": [1.0], "score.a": [0.0]}
    write_bundle(path, {"x": entry}, {"x": {"id": ["1"]}, "y": {"id": ["2"]}})
    first = path.read_bytes()
    write_bundle(path, {"x": dict(reversed(entry.items()))}, {"y": {"id": ["2"]}, "x": {"id": ["1"]}})
    assert path.read_bytes() == first and len(list((tmp_path / "labels").iterdir())) == 1


def test_what_is_refused(path, tmp_path):
    for bad in ([1.1], [-0.1], [float("nan")]):
        with pytest.raises(DigrapError, match=r"must lie in \[0, 1\]"):
            write_bundle(path, {"a": {"prediction": ["x"], "score.s": bad}}, {})
    with pytest.raises(DigrapError, match="surrogates"):
        write_bundle(path, {"a": {"prediction": ["\ud83d" + "\ude00"]}}, {})
    write_bundle(path, {"a": {"prediction": np.array([1, 2])}}, {"a": {"label": np.array([1])}})
    bundle = read_bundle(path, tmp_path)
    with pytest.raises(DigrapError, match="no whole predictions of split a"):
        bundle.example_scores("a")
    with pytest.raises(DigrapError, match="no split 'b'"):
        bundle.example_scores("b")


def test_another_format_is_named(path, tmp_path):
    digest = write_bundle(path, SPLITS, TRUTH)
    np.savez(path, **{"real.prediction": LABEL, "truth": np.array(digest)})  # as before formats had numbers
    with pytest.raises(
        DigrapError, match="bundle of format 1, this version reads 2; delete .* and run the same train.py command again"
    ):
        read_bundle(path, tmp_path)
    assert truth_of(path) == digest
    np.savez(path, format=np.array(3), truth=np.array(digest))
    with pytest.raises(DigrapError, match="bundle of format 3"):
        read_bundle(path, tmp_path)


def test_damaged_files_are_named(path, tmp_path):
    digest = write_bundle(path, SPLITS, TRUTH)
    whole = path.read_bytes()
    for data in (b"", b"PK", b"no npz", whole[:-30], whole[:200] + b"\xff" * 40 + whole[240:]):
        path.write_bytes(data)
        with pytest.raises(DigrapError, match=r"predictions.npz: the predictions cannot be read"):
            read_bundle(path, tmp_path)
    path.write_bytes(whole)
    np.savez(labels_file(tmp_path, digest), **{"real.label": LABEL + 1})
    with pytest.raises(DigrapError, match="labels do not match its name"):
        read_bundle(path, tmp_path)
    labels_file(tmp_path, digest).unlink()
    with pytest.raises(DigrapError, match=f"labels/{digest}.npz: the predictions cannot be read"):
        read_bundle(path, tmp_path)


@pytest.mark.parametrize("which", ["predictions", "labels"])
def test_a_changed_byte_changes_no_content(path, tmp_path, which):
    """Every byte of both files: it is noticed, or it was one that nothing is read from."""
    splits = {"real": SPLITS["real"], "a": {"prediction": ["yes", "no"], "score.m4c": [0.3, 1.0]}}
    digest = write_bundle(path, splits, {"real": {"label": LABEL}, "a": {"id": ["q1", "q2"]}})
    file = path if which == "predictions" else labels_file(tmp_path, digest)
    whole, content, noticed = file.read_bytes(), as_plain(read_bundle(path, tmp_path)), 0
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ (1 + place % 255)]) + whole[place + 1 :])
        try:
            assert as_plain(read_bundle(path, tmp_path)) == content, place
        except DigrapError:
            noticed += 1
    assert noticed > len(whole) / 2


def as_plain(bundle):
    """All of a bundle's content, with the types of its arrays."""
    return [
        (split, key, values if isinstance(values, list) else (values.dtype, values.tolist()))
        for content in (bundle._predictions, bundle._truth)
        for split, entry in content.items()
        for key, values in sorted(entry.items())
    ]


@pytest.mark.parametrize("place", [30, 31])  # of an entry in the list of members: the length of its extra field
def test_lost_members_are_noticed(path, tmp_path, place):
    """zipfile takes the entries after a length that is too long for the list's end, and says nothing."""
    write_bundle(path, SPLITS, TRUTH)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + place] ^= 0x80
    path.write_bytes(data)
    with pytest.raises(DigrapError, match="predictions.npz: the predictions cannot be read"):
        read_bundle(path, tmp_path)


@pytest.mark.parametrize("digest", ["../../../etc", "0123456789abc", "", "ABCDEF0123"])
def test_a_digest_is_no_path(path, tmp_path, digest):
    path.parent.mkdir()
    np.savez(path, format=np.array(2, np.uint8), truth=np.array(digest))
    for read in (lambda: read_bundle(path, tmp_path), lambda: truth_of(path)):
        with pytest.raises(DigrapError, match="is no digest of labels"):
            read()


def test_damaged_labels_are_written_again(path, tmp_path):
    file = labels_file(tmp_path, write_bundle(path, SPLITS, TRUTH))
    whole = file.read_bytes()
    for data in (b"", whole[:-9], whole.replace(b"real", b"fake")):
        file.write_bytes(data)
        write_bundle(path, SPLITS, TRUTH)
        assert file.read_bytes() == whole and read_bundle(path, tmp_path).labels("real").tolist() == LABEL.tolist()
