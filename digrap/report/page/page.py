"""The page: one HTML file without any address outside of itself. What comes from files is escaped by the templates."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from digrap.report.formats import EMPTY
from digrap.report.page.runs import RunPart
from digrap.report.page.tables import TablePart
from digrap.report.render import Bold

HERE = Path(__file__).parent
KINDS = {"id_val": "ID validation", "id_test": "ID test", "near_ood": "near OOD", "far_ood": "far OOD"}


@dataclass(frozen=True)
class Page:
    """All that is on the page. `made` says when and from what; `left_out` the runs beyond the cap and the tables that
    were not asked for; `problems` what could not be read."""

    made: str
    tables: list[TablePart]
    runs: list[RunPart]
    left_out: list[str]
    problems: list[str]


def html(page: Page) -> str:
    """The page as the text of an HTML file."""
    script, style = ((HERE / name).read_text(encoding="utf-8") for name in ("script.js", "style.css"))
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"data": data_uri, "percent": percent}
    environment.tests["bold"] = lambda cell: isinstance(cell, Bold)
    # Ours, and the only text that is not escaped. The policy lets no other script run, and nothing be fetched.
    own = {"script": Markup(script), "style": Markup(style), "allowed": digest(script)}  # noqa: S704
    return environment.get_template("page.html").render(page=page, kinds=KINDS, **own)


def digest(script: str) -> str:
    """The digest by which a content security policy names a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def data_uri(content: bytes, kind: str = "svg+xml") -> str:
    """A picture as an address that holds the picture itself: as an image of its own it shares no ids with others."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def percent(value: float | None) -> str:
    """`79.3`, or `—`."""
    return EMPTY if value is None else f"{value:.1f}"
