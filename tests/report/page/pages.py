"""A page made by its door, and a reader of its HTML."""

import base64
import re
import sys
from html.parser import HTMLParser

from omegaconf import OmegaConf

from tests.synthetic_runs import script

VOID = {"meta", "img", "input", "br", "link", "hr"}


def make(monkeypatch, outputs, **options):
    """The text of the page in <outputs>/page.html; pictures are left out unless asked for."""
    options = {"published": outputs, "pictures": "false", **options}
    words = [
        f"outputs={outputs}",
        f"out={outputs / 'page.html'}",
        *(f"{key}={value}" for key, value in options.items()),
    ]
    monkeypatch.setattr(sys, "argv", ["scripts/report.py", *words])
    script("report").main()
    return (outputs / "page.html").read_text(encoding="utf-8")


def write_config(cell, outputs, **changes):
    """The config.yaml of a cell's run."""
    cfg = OmegaConf.create(OmegaConf.to_container(cell.config))
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value, force_add=True)
    OmegaConf.save(cfg, cell.folder(outputs) / "config.yaml")


class Read(HTMLParser):
    """What a page holds: elements that are open, ids, addresses, scripts, handlers, the texts of table cells."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.addresses, self.handlers, self.scripts, self.cells, self.faults = (
            [],
            [],
            [],
            [],
            0,
            [],
            [],
        )
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "action", "data", "srcset", "poster"):
                self.addresses.append(value)
            if name.startswith("on"):
                self.handlers.append(name)
        self.scripts += tag == "script"
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data

    @property
    def svgs(self):
        kind = "data:image/svg+xml;base64,"
        found = [value for value in self.addresses if value.startswith(kind)]
        return [base64.b64decode(value.removeprefix(kind)).decode() for value in found]


def check(text):
    """Assert that a page is whole, valid as far as a plain parser tells, and has no address outside of itself."""
    read = Read(text)
    assert not read.faults and not read.open and read.scripts == 1 and not read.handlers
    assert len(set(read.ids)) == len(read.ids)
    assert all(value.startswith(("data:image/", "#")) for value in read.addresses)
    assert {value[1:] for value in read.addresses if value.startswith("#")} <= set(read.ids)
    for part in (text, *read.svgs):
        outside = [address for address in re.findall(r"\w+://[^\s\"'<>]+", part) if "www.w3.org" not in address]
        assert not outside
    return read
