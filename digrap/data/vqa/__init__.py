"""Visual question answering: ten sets in their official files, one record type, and one's own questions."""

from digrap.data.vqa.build import build
from digrap.data.vqa.own import build as build_own

__all__ = ["build", "build_own"]
