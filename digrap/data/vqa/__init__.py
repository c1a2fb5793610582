"""Visual question answering: ten sets in their official files, and a user's own questions."""

from digrap.data.vqa.json_questions import build as build_own
from digrap.data.vqa.vqav2_splits import build

__all__ = ["build", "build_own"]
