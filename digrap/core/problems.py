"""What was wrong with some input: counted by kind, the first of each kept as examples, or an error at once."""

from __future__ import annotations

from digrap.core.errors import DigrapError

EXAMPLES = 3  # kept of each kind


class Problems:
    """Problems met on the way, by kind. `strict`: the first one raises DigrapError.

    `counts` is {kind: how many}, `examples` {kind: where the first three were}; kinds stand in the order they were met.
    An instance is True when there was any.
    """

    def __init__(self, strict: bool = False):
        self.strict = strict
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}

    def add(self, kind: str, where: str, count: int = 1) -> None:
        """Count `count` more of `kind`; `where` says where, in a few words. Raises DigrapError if strict."""
        if self.strict and count:
            raise DigrapError(f"{kind}: {where}" + (f" (and {count - 1} more)" if count > 1 else ""))
        if count:
            self.counts[kind] = self.counts.get(kind, 0) + count
            examples = self.examples.setdefault(kind, [])
            if len(examples) < EXAMPLES:
                examples.append(where)

    def merge(self, other: Problems) -> None:
        """Count what another one has counted."""
        for kind, count in other.counts.items():
            first, *more = other.examples[kind]
            self.add(kind, first, count - len(more))
            for where in more:
                self.add(kind, where)

    def said(self) -> str:
        """Each kind with its first example, in a line."""
        return "; ".join(f"{kind}: {where[0]}" for kind, where in self.examples.items()) or "the file is empty"

    def lines(self) -> list[str]:
        """`2 × <kind>: <where>; <where>`, a line a kind."""
        return [f"{count} × {kind}: {'; '.join(self.examples[kind])}" for kind, count in self.counts.items()]

    def summary(self) -> dict[str, dict]:
        """{kind: {"count": n, "first": [where, …]}}, fit for JSON."""
        return {kind: {"count": count, "first": list(self.examples[kind])} for kind, count in self.counts.items()}

    def __bool__(self) -> bool:
        return bool(self.counts)
