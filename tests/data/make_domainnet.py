r"""A small DomainNet in the official layout, and a server for it: `make(folder)`, `serve(folder)`.

    made = make(tmp_path)
    with serve(made.site) as server:
        python scripts/download.py dataset=domainnet data_root=… lists={made.lists} \
            mirror={server.url} checksums={made.checksums}
    python train.py dataset=domainnet data_root=… dataset.lists={made.lists}

Without a download: data_root={made.data_root} holds the images already.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from digrap.data.domainnet.facts import ARCHIVES, CLEANED_FOLDER

CLASSES = ("cello", "cell_phone", "teddy-bear", "trumpet", "t-shirt")  # the official order, not the sorted one
COUNTS = {"train": 8, "val": 3, "test": 4}  # images a class; val and train are real's alone
GROUND = {
    "real": (120, 140, 120), "clipart": (255, 255, 255), "sketch": (235, 235, 225),
    "painting": (150, 120, 90), "infograph": (70, 90, 140), "quickdraw": (250, 250, 250),
}  # fmt: skip
INK = ((200, 30, 30), (30, 160, 30), (30, 30, 200), (200, 180, 20), (20, 180, 190))


@dataclass(frozen=True)
class Made:
    """Paths of what was made.

    `site` is to be served; `lists` are the authors' group's, `cleaned` the official cleaned ones; `data_root`/domainnet
    holds the same images, unpacked.
    """

    site: Path
    lists: Path
    cleaned: Path
    checksums: Path
    data_root: Path


def make(folder: Path, classes: tuple[str, ...] = CLASSES, size: int = 40, counts: dict[str, int] = COUNTS) -> Made:
    """Draw, list and zip. Odd files, all listed: greyscale, palette, CMYK, and one that is cut short."""
    made = Made(
        folder / "site", folder / "lists", folder / "site" / CLEANED_FOLDER, folder / "checksums.json", folder / "data"
    )
    for path in (made.lists, made.cleaned):
        path.mkdir(parents=True)
    for domain in ARCHIVES:
        _draw_domain(made, domain, classes, size, counts)
    _odd_files(made.data_root / "domainnet", classes)
    for domain, (path, *_) in ARCHIVES.items():
        pack(made.data_root / "domainnet", domain, made.site / path)
    write_checksums(made)
    return made


def _draw_domain(made: Made, domain: str, classes: tuple[str, ...], size: int, counts: dict[str, int]) -> None:
    lists = {"train": [], "val": [], "test": []}
    rng = np.random.default_rng(sorted(ARCHIVES).index(domain))
    for label, name in enumerate(classes):
        number = 0
        for part, lines in lists.items():
            for _ in range(counts[part]):
                number += 1
                file = (
                    f"{5 * 10**15 + number}.png"
                    if domain == "quickdraw"
                    else f"{domain}_{label + 1:03}_{number:06}.jpg"
                )
                path = made.data_root / "domainnet" / domain / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                _draw(label, domain, size, rng).save(path, **({} if domain == "quickdraw" else {"quality": 90}))
                lines.append(f"{domain}/{name}/{file} {label}\n")
    kept = ("train", "val", "test") if domain == "real" else ("test",)  # as published by the authors' group
    for part in kept:
        (made.lists / f"{domain}_{part}.txt").write_text("".join(lists[part]))
    duplicates = 0 if domain == "quickdraw" else 1  # cleaned: the same without duplicates
    (made.cleaned / f"{domain}_train.txt").write_text("".join(sorted(lists["train"] + lists["val"])))
    (made.cleaned / f"{domain}_test.txt").write_text("".join(lists["test"][duplicates:]))


def _draw(label: int, domain: str, size: int, rng: np.random.Generator) -> Image.Image:
    """A polygon of 3 + label corners in the class's colour."""
    image = Image.new("RGB", (size + 8, size), GROUND[domain])
    x, y = (int(value) for value in rng.integers(size // 2 - 4, size // 2 + 5, 2))
    ink = (0, 0, 0) if domain in ("quickdraw", "sketch") else INK[label % len(INK)]
    corners = dict(n_sides=3 + label % 9, rotation=int(rng.integers(0, 90)))
    ImageDraw.Draw(image).regular_polygon((x, y, size // 3), **corners, fill=None if domain == "quickdraw" else ink)
    if domain == "quickdraw":
        ImageDraw.Draw(image).regular_polygon((x, y, size // 3), **corners, outline=ink)
    return image


def _odd_files(root: Path, classes: tuple[str, ...]) -> None:
    """The last (test) file of the first class of four domains."""
    last = {domain: sorted((root / domain / classes[0]).iterdir())[-1] for domain in ARCHIVES}
    for domain, mode in (("sketch", "L"), ("quickdraw", "P"), ("clipart", "CMYK")):
        with Image.open(last[domain]) as file:
            image = file.convert(mode)
        image.save(last[domain])
    data = last["infograph"].read_bytes()
    last["infograph"].write_bytes(data[: len(data) * 4 // 5])


def pack(root: Path, domain: str, archive: Path) -> None:
    """Zip root/<domain> with the official inner paths <domain>/<class>/<file>."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((root / domain).rglob("*")):
            file.write(path, path.relative_to(root))


def write_checksums(made: Made) -> None:
    """{path: {size, md5}} of everything on the site."""
    files = sorted(path for path in made.site.rglob("*") if path.is_file())
    table = {
        str(path.relative_to(made.site)): {
            "size": path.stat().st_size,
            "md5": hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(),
        }
        for path in files
    }
    made.checksums.write_text(json.dumps(table, indent=1))


@dataclass
class Server:
    """A server's faults, and in `asked` its requests in order: (path, first byte)."""

    folder: Path
    url: str = ""
    ranges: bool = True  # false: whole files only
    tagged: bool = True  # sends an ETag
    cut: dict[str, int] = field(default_factory=dict)  # path: bytes after which the line is cut, once
    corrupt: Counter = field(default_factory=Counter)  # path: how many answers have a wrong byte
    short: Counter = field(default_factory=Counter)  # path: how many answers are of a file without its end
    asked: list[tuple[str, int]] = field(default_factory=list)

    def starts(self, path: str) -> list[int]:
        """Return the first bytes of the answers for a path."""
        return [start for asked, start in self.asked if asked == path]


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Serve a folder on 127.0.0.1, ranges and If-Range included; faults are set on the yielded Server."""
    os.environ["no_proxy"] = "127.0.0.1"  # else a proxy would be asked for it; subprocesses inherit this
    state = Server(folder)
    handler = type("Handler", (_Handler,), {"state": state})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{httpd.server_address[1]}/"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Server

    def do_GET(self) -> None:
        path, state = self.path.lstrip("/"), self.state
        if not (state.folder / path).is_file():
            return self.send_error(404)
        data = bytearray((state.folder / path).read_bytes())
        tag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        if state.short[path]:
            state.short[path] -= 1
            data = data[:-100]
        start = self._start(tag) if state.ranges else 0
        state.asked.append((path, start))
        if start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if state.tagged:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if state.corrupt[path]:
            state.corrupt[path] -= 1
            data[len(data) // 2] ^= 1
        end = min(len(data), state.cut.pop(path, len(data)))
        with suppress(ConnectionError):  # the other side may hang up
            self.wfile.write(data[start:end])
        return None

    def _start(self, tag: str) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(found[1]) if found and self.headers.get("If-Range", tag) == tag else 0

    def log_message(self, *_) -> None:
        pass
