"""Selection of the files of the VQA sets that have to be downloaded.

Addresses come from the sets' own pages and, where these could not be reached, from public code that loads the sets; the
modules of `digrap.data.vqa.sets` name it. Checksums are published for COCO's zips alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from digrap.core.errors import DigrapError
from digrap.data.vqa.sets import SETS
from digrap.data.vqa.vqa_set import Item, VQASet

ALL = "vqa_all"
LISTS_SITE = "https://storage.googleapis.com/frames-vqa/datasets_files/"


def chosen(dataset: str, parts: Sequence[str] = (), images: bool = True, lists: bool = False) -> list[Item]:
    """Return the items of a set, or of all ten (`vqa_all`), annotations first and what several share once.

    `parts` are taken in place of the set's `fetched` ones, `lists` adds the authors' list files. Raises DigrapError for
    a part that the set does not have, and for parts of all sets at once.
    """
    if dataset == ALL and parts:
        raise DigrapError(f"parts={','.join(parts)}: needs a single dataset, not dataset={ALL}")
    found: dict[str, Item] = {}
    for one in SETS.values() if dataset == ALL else (SETS[dataset],):
        for part in parts or one.fetched:
            if part not in one.files:
                raise DigrapError(f"parts={part}: dataset={one.name} has {', '.join(one.files)}")
            found |= {item.path: item for item in one.files[part]}
        if lists:
            found |= {item.path: item for item in _lists(one)}
    return sorted((item for item in found.values() if images or not item.is_folder), key=lambda item: item.is_folder)


def _lists(one: VQASet) -> list[Item]:
    """Return the authors' list files, optional because their store may no longer serve them."""
    site = f"{LISTS_SITE}{one.lists_folder or one.name}/"
    return [Item(f"{one.name}/{file}", one.page, site + file, optional=True) for file in one.lists.values()]
