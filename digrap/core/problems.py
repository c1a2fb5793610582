"""Problems of some input: counted by kind, with the first of each as examples; or, if strict, an error at once."""

from __future__ import annotations

from digrap.core.errors import DigrapError

EXAMPLES = 3  # kept of each kind


class Problems:
    """Counter of problems by kind. With `strict`, the first one raises DigrapError.

    `counts` is {kind: count}, `examples` {kind: places of the first three}, both in the order of first occurrence. An
    instance is true if it counted any problem.
    """

    def __init__(self, strict: bool = False):
        self.strict = strict
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}

    def add(self, kind: str, where: str, count: int = 1) -> None:
        """Count `count` more problems of `kind`; `where` names the place briefly. Raises DigrapError if strict."""
        if self.strict and count:
            raise DigrapError(f"{kind}: {where}" + (f" (and {count - 1} more)" if count > 1 else ""))
        if count:
            self.counts[kind] = self.counts.get(kind, 0) + count
            examples = self.examples.setdefault(kind, [])
            if len(examples) < EXAMPLES:
                examples.append(where)

    def merge(self, other: Problems) -> None:
        """Add the problems counted by another instance."""
        for kind, count in other.counts.items():
            first, *more = other.examples[kind]
            self.add(kind, first, count - len(more))
            for where in more:
                self.add(kind, where)

    def one_line(self) -> str:
        """The `lines` in one, or "the file is empty"."""
        return "; ".join(self.lines()) or "the file is empty"

    def lines(self) -> list[str]:
        """`2 × <kind>: <place>; <place>`, one line per kind."""
        return [f"{count} × {kind}: {'; '.join(self.examples[kind])}" for kind, count in self.counts.items()]

    def summary(self) -> dict[str, dict]:
        """{kind: {"count": n, "first": [place, …]}}, ready for JSON."""
        return {kind: {"count": count, "first": list(self.examples[kind])} for kind, count in self.counts.items()}

    def __bool__(self) -> bool:
        return bool(self.counts)
