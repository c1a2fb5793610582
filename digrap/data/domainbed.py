"""The sets of DomainBed (Gulrajani & Lopez-Paz 2021) in its layout: one domain trains, the others are tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from digrap.core.errors import DigrapError, nearest
from digrap.data.class_folders import subfolders
from digrap.data.class_names import read_names
from digrap.data.folder import of_equal_classes, split_table
from digrap.data.splits import DataModule, named_ood

PAGE = "https://github.com/facebookresearch/DomainBed"


def build(
    root: str | Path,
    sets: Mapping[str, Sequence[str]],
    set: str,
    source: str,
    splits: Mapping[str, Mapping[str, str]],
    near_ood: Sequence[str],
    holdout: float,
    names: str | Path | None = None,
    known: Sequence[str] | None = None,
) -> DataModule:
    """Build the splits of configs/dataset/domainbed.yaml from root/<set>/<domain>/<class>/*.jpg.

    `sets` maps a set's folder to its domains. The splits in the folder of `source`, the training domain, have `holdout`
    of each class's pictures but the training split; `near_ood` are the other domains, each a whole split. With `known`,
    the classes of a trained model, these are tested alone; () is a model of any classes. Raises DigrapError for an
    unknown set or domain, and for folders that are missing.
    """
    if set not in sets:
        raise DigrapError(f"dataset.set={set}: there is no such set; {nearest(set, sets)}")
    if source not in sets[set]:
        raise DigrapError(f"dataset.source={source}: {set} has no such domain; {nearest(source, sets[set])}")
    table = {} if known else split_table(splits)
    table |= {name: (name, kind) for name, kind in named_ood(table, near_ood, ())}
    folder = Path(root).expanduser() / set
    _check_folders(folder, sorted({domain for domain, _ in table.values()}))
    paths = {name: folder / domain for name, (domain, _) in table.items()}
    kinds = {name: kind for name, (_, kind) in table.items()}
    words = read_names(names) if names else {}
    return of_equal_classes("domainbed", paths, kinds, words, holdout)


def _check_folders(folder: Path, domains: Sequence[str]) -> None:
    """Raise DigrapError that names every missing folder and says how to get them."""
    if not (absent := [domain for domain in domains if not (folder / domain).is_dir()]):
        return
    there = subfolders(folder) if folder.is_dir() else []
    raise DigrapError(
        f"dataset=domainbed: {folder} lacks {', '.join(absent)} (there: {', '.join(there) or 'nothing'}); expected: "
        f"{folder}/<domain>/<class>/*.jpg, as domainbed/scripts/download.py of {PAGE} lays it out under its "
        f"--data_dir; dataset.root={folder.parent} is that folder. The licences are those of the sets' authors"
    )
