"""Numbers of things in sentences."""

from __future__ import annotations


def counted(count: int, thing: str, several: str | None = None) -> str:
    """`1 picture`, `2 pictures`, `1,200 classes`: a number and what it counts; `several` is a plural without s."""
    return f"{count:,} {thing if count == 1 else several or f'{thing}s'}"
