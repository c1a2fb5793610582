"""Where each file of the ten VQA sets is published, and where under the root it is put.

Addresses: the sets' own pages (PAGES) and, as their pages could not all be asked, public code that loads them:
AgarwalVedika/CausalVQA and chengyuehuang511/FRAMES-VQA (IV-VQA, CV-VQA, the authors' lists), facebookresearch/mmf
(VQA-CP v2), cdancette/detect-shortcuts (VQA-CE), google-research/big_vision (TextVQA's rotations). Checksums are
published for COCO's zips alone (a comment in salesforce/LAVIS, download_coco.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from digrap.core.errors import DigrapError
from digrap.data.vqa.facts import SETS

ALL = "vqa_all"
COCO_SITE = "http://images.cocodataset.org/zips/"
VQA_SITE = "https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa/"
CAUSAL_SITE = "https://datasets.d2.mpi-inf.mpg.de/rakshith/causalvqa/rawdata/"
CP_SITE = "https://computing.ece.vt.edu/~aish/vqacp/"
CE_SITE = "https://github.com/cdancette/detect-shortcuts/releases/download/v1.0/"
FAIR_SITE = "https://dl.fbaipublicfiles.com/"
ROTATIONS = "https://storage.googleapis.com/openimages/2018_04/train/train-images-boxable-with-rotation.csv"
VIZWIZ_SITE = "https://vizwiz.cs.colorado.edu/VizWiz_final/"
OK_SITE = "https://okvqa.allenai.org/static/data/"
LISTS_SITE = "https://storage.googleapis.com/frames-vqa/datasets_files/"

HYPHENED = ("iv_vqa", "cv_vqa", "ok_vqa")  # there: iv-vqa, cv-vqa, ok-vqa

PAGES = {
    "coco": "https://cocodataset.org/#download",
    "vqav2": "https://visualqa.org/download.html",
    "iv_vqa": "https://github.com/AgarwalVedika/CausalVQA",
    "cv_vqa": "https://github.com/AgarwalVedika/CausalVQA",
    "vqa_rephrasings": "https://facebookresearch.github.io/VQA-Rephrasings/",
    "vqa_cp": CP_SITE,
    "vqa_ce": "https://github.com/cdancette/detect-shortcuts",
    "advqa": "https://adversarialvqa.org",
    "textvqa": "https://textvqa.org",
    "vizwiz": "https://vizwiz.org/tasks-and-datasets/vqa/",
    "ok_vqa": "https://okvqa.allenai.org",
}


@dataclass(frozen=True)
class Item:
    """A file, or a folder of images, at `path` under the root.

    `url` is the file itself or, with `inner`, an archive in which its path ends so; "": only `page` tells how to get
    it. `md5` is the address's, `count` how many images are in the folder, where that is published. What is `optional`
    may stay away.
    """

    path: str
    page: str
    url: str = ""
    inner: str = ""
    md5: str | None = None
    count: int | None = None
    optional: bool = False

    @property
    def is_folder(self) -> bool:
        return self.path.startswith("images/")

    @property
    def record(self) -> str:
        """Under what the file on disk is recorded: its address, and what of it where that is an archive."""
        return f"{self.url}#{self.inner}" if self.inner else self.url


def _coco(split: str, md5: str, count: int) -> Item:
    return Item(f"images/coco/{split}", PAGES["coco"], f"{COCO_SITE}{split}.zip", split, md5, count)


def _file(of: str, name: str, url: str = "", inner: str = "", optional: bool = False) -> Item:
    return Item(f"{of}/{name}", PAGES[of], url, inner, optional=optional)


def _vqav2(part: str) -> tuple[Item, ...]:
    split, zips = f"{part}2014", f"_{part.title()}_mscoco.zip"
    names = {
        "Questions": f"v2_OpenEnded_mscoco_{split}_questions.json",
        "Annotations": f"v2_mscoco_{split}_annotations.json",
    }
    return tuple(_file("vqav2", name, f"{VQA_SITE}v2_{kind}{zips}", name) for kind, name in names.items())


def _causal(of: str, annotations: str, images: str) -> tuple[Item, ...]:
    folder = annotations.removesuffix(".tar.gz").partition("annotations_")[2]
    names = ("v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json")
    files = tuple(_file(of, name, CAUSAL_SITE + annotations, f"{folder}/{name}") for name in names)
    return *files, Item(f"{SETS[of].images}/val2014", PAGES[of], CAUSAL_SITE + images, "val2014")


def _cp(part: str) -> tuple[Item, ...]:
    names = [f"vqacp_v2_{part}_{kind}.json" for kind in ("questions", "annotations")]
    return tuple(_file("vqa_cp", name, CP_SITE + name) for name in names)


def _ok(part: str) -> tuple[Item, ...]:
    names = (f"OpenEnded_mscoco_{part}2014_questions.json", f"mscoco_{part}2014_annotations.json")
    return tuple(_file("ok_vqa", name, f"{OK_SITE}{name}.zip", name) for name in names)


def _plain(of: str, site: str, *names: str) -> tuple[Item, ...]:
    return tuple(_file(of, name, site + name) for name in names)


def _vizwiz(part: str, count: int | None = None) -> tuple[Item, ...]:
    images = Item(f"images/vizwiz/{part}", PAGES["vizwiz"], f"{VIZWIZ_SITE}images/{part}.zip", part, count=count)
    name = f"{part}.json"
    return _file("vizwiz", name, f"{VIZWIZ_SITE}vqa_data/Annotations.zip", name), images


TRAIN2014 = _coco("train2014", "0da8c0bd3d6becc4dcb32757491aca88", 82783)
VAL2014 = _coco("val2014", "a3d79f5ed8d289b7a7554ce06a5782b3", 40504)
TEXTVQA = (
    _file("textvqa", ROTATIONS.rpartition("/")[2], ROTATIONS, optional=True),
    Item(
        "images/textvqa/train_images",
        PAGES["textvqa"],
        f"{FAIR_SITE}textvqa/images/train_val_images.zip",
        "train_images",
    ),
)

# set: part: what it takes. The parts that are fetched unless others are asked for are those of USED.
ITEMS: dict[str, dict[str, tuple[Item, ...]]] = {
    "vqav2": {"train": (*_vqav2("train"), TRAIN2014), "val": (*_vqav2("val"), VAL2014)},
    "iv_vqa": {"val": _causal("iv_vqa", "annotations_0.1_0.1.tar.gz", "val2014_edited.tar.gz")},
    "cv_vqa": {"val": _causal("cv_vqa", "CV_VQA_annotations_0.1_0.0.tar.gz", "CV_VQA_val2014.tar.gz")},
    "vqa_rephrasings": {
        "val": (
            _file("vqa_rephrasings", "v2_OpenEnded_mscoco_valrep2014_humans_og_questions.json"),
            _file("vqa_rephrasings", "v2_mscoco_valrep2014_humans_og_annotations.json"),
            VAL2014,
        )
    },
    "vqa_cp": {part: (*_cp(part), TRAIN2014, VAL2014) for part in ("train", "test")},
    "vqa_ce": {"val": (*_plain("vqa_ce", CE_SITE, "counterexamples.json", "hard.json"), *_vqav2("val"), VAL2014)},
    "advqa": {
        "val": (
            *_plain(
                "advqa",
                f"{FAIR_SITE}advqa/",
                "v1_OpenEnded_mscoco_val2017_advqa_questions.json",
                "v1_mscoco_val2017_advqa_annotations.json",
            ),
            VAL2014,
        )
    },
    "textvqa": {
        part: (*_plain("textvqa", f"{FAIR_SITE}textvqa/data/", f"TextVQA_0.5.1_{part}.json"), *TEXTVQA)
        for part in ("train", "val")
    },
    "vizwiz": {"train": _vizwiz("train"), "val": _vizwiz("val", 4319)},
    "ok_vqa": {"train": (*_ok("train"), TRAIN2014), "val": (*_ok("val"), VAL2014)},
}
USED = {"vqav2": ("train", "val"), "vqa_cp": ("test",)}  # of the others val


def chosen(dataset: str, parts: Sequence[str] = (), images: bool = True, lists: bool = False) -> list[Item]:
    """What a set takes, or all ten (`vqa_all`): annotations first, what several share once.

    `parts` are taken instead of those that are used, `lists` adds the authors' own. Raises DigrapError for a part that
    the set has not.
    """
    if dataset == ALL and parts:
        raise DigrapError(f"parts={','.join(parts)}: goes with one dataset, not with dataset={ALL}")
    found: dict[str, Item] = {}
    for name in ITEMS if dataset == ALL else (dataset,):
        for part in parts or USED.get(name, ("val",)):
            if part not in ITEMS[name]:
                raise DigrapError(f"parts={part}: dataset={name} has {', '.join(ITEMS[name])}")
            found |= {item.path: item for item in ITEMS[name][part]}
        if lists:
            found |= {item.path: item for item in _lists(name)}
    return sorted((item for item in found.values() if images or not item.is_folder), key=lambda item: item.is_folder)


def _lists(name: str) -> list[Item]:
    """The authors' lists; whether they are still served is not known, so each may stay away."""
    folder = name.replace("_", "-") if name in HYPHENED else name
    files = SETS[name].lists.values()
    return [_file(name, file, f"{LISTS_SITE}{folder}/{file}", optional=True) for file in files]
