"""Types that describe a VQA set: its facts, the files it is published as, and its reader."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from digrap.core.paths import data_root_option
from digrap.metrics.vqa.question import Question

if TYPE_CHECKING:  # formats.py imports this module
    from digrap.data.vqa.official_files import Folder


@dataclass(frozen=True)
class Item:
    """A file, or a folder of images, that has to lie at `path` under the root of all sets.

    `url` is the address of the file itself or, with `inner`, of an archive in which its path ends with `inner`; ""
    where only `page` tells how to get it. `md5` is the published checksum of what the address serves, `count` the
    published number of images in the folder; None where there is none. An `optional` item may be missing.
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
        """The key under which the file on disk is recorded: its address and, of an archive, the path in it."""
        return f"{self.url}#{self.inner}" if self.inner else self.url


@dataclass(frozen=True)
class VQASet:
    """One VQA set; a module of `digrap.data.vqa.sets` describes it.

    `name` is the name of that module and of the set's folder under the root, `title` its name in messages, `page` the
    web page that publishes it. `kind` and `shift` follow FRAMES-VQA's grouping (see `Question`).

    `parts` are those that have answers, the scored one last. `read(folder, part)` returns a part's questions from the
    official files. `files` maps each downloadable part to its items; `fetched` are the parts that are downloaded
    unless others are asked for.

    `images` is the folder to which the paths in the authors' list files are relative. `lists` maps parts to those
    files, and `lists_folder` is the folder in the authors' store that holds them where it is not called `name`.

    `vqav2_ids` says that question ids are VQAv2's, `image_id_is_file` that an image id is the name of the picture's
    file and names its question. `turns` returns the degrees by which stored pictures have to be turned, by image id.
    `originals` returns {(question id, text), as `official_files.asked` has them: id of the question it rephrases, or
    ""} for the authors' list file, which does not say it.
    """

    name: str
    title: str
    page: str
    kind: str
    parts: tuple[str, ...]
    images: str
    lists: Mapping[str, str]
    read: Callable[[Folder, str], list[Question]]
    files: Mapping[str, tuple[Item, ...]]
    shift: str = ""
    fetched: tuple[str, ...] = ("val",)
    lists_folder: str = ""
    vqav2_ids: bool = False
    image_id_is_file: bool = False
    turns: Callable[[Folder, Iterable[str]], dict[str, int]] | None = None
    originals: Callable[[Folder], dict[tuple[str, str], str]] | None = None

    @property
    def scored_part(self) -> str:
        return self.parts[-1]

    def how_to_fetch(self, root: Path, file: str = "", part: str = "") -> str:
        """Return "`<command>` fetches it" for the set's files under `root`, that of all sets: with `file`, one of its
        folder, and with the pictures of `part`, where they are not fetched without being asked for."""
        words = [f"dataset={self.name}", *data_root_option(root.parent)]
        holding = [name for name, items in self.files.items() if f"{self.name}/{file}" in [item.path for item in items]]
        wanted = holding or [part] * (part in self.files)
        if file in self.lists.values():
            words.append("lists=true")
        elif wanted and not set(wanted) & set(self.fetched):
            words.append(f"parts={wanted[0]}")
        what = "it" if file else "them"
        return f"`python scripts/download.py {shlex.join(words)}` fetches {what}{elsewhere(root)}"


def elsewhere(root: Path) -> str:
    """Return where a download goes that does not go to `root`, for the end of a message; "" for data_root/vqa."""
    return "" if root.name == "vqa" else f" (to {root.parent / 'vqa'}: move what comes there to {root})"
