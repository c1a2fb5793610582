"""What a table says, in words, by the paired bootstrap: who gains on its task, who keeps what it knew."""

from __future__ import annotations

from digrap.report.formats import format_difference
from digrap.report.paired import Paired
from digrap.report.scores import Scores

ZERO_SHOT = "zero_shot"


def verdict(scores: Scores) -> tuple[list[str], list[str]]:
    """(sentences on the whole, one line per row compared with its baseline). Raises DigrapError for damaged
    predictions."""
    identity, ood = scores.identity, scores.ood_mean
    if not scores.runs:
        return ["No run of this table is finished."], []
    if identity is None or ood is None:
        return ["This table has no ID test or no OOD splits: there is nothing to weigh."], []
    columns = {"ID": identity, "OOD": ood}
    found = {row: test for row in scores.table.rows if (test := _against_baseline(scores, row))}
    sentences = [*_what_tuning_does(scores, columns), *_best(scores, columns)]
    if found:
        keeps = [row for row, test in found.items() if test[identity].high >= 0 and test[ood].low > 0]
        gains = [row for row, test in found.items() if test[identity].low > 0 and test[ood].high >= 0]
        base = scores.table.baseline
        sentences.append(_listed(keeps, f"clearly higher OOD than {base} without a clear loss ID"))
        sentences.append(_listed(gains, f"clearly higher ID than {base} without a clear loss OOD"))
        others = [row for row in scores.table.rows if row != scores.table.baseline_of(row) and row not in found]
        if others:
            sentences.append(f"Not compared with {base}, for want of finished runs of one seed: {', '.join(others)}.")
    return sentences, [_line(scores, row, test, columns) for row, test in found.items()]


def _against_baseline(scores: Scores, row: str) -> dict[str, Paired]:
    base = scores.table.baseline_of(row)
    return {} if base in (None, row) else scores.compare(row, base)


def _what_tuning_does(scores: Scores, columns: dict[str, str]) -> list[str]:
    """A sentence a block: the baseline against the model as it was before."""
    untrained = scores.rows_of(ZERO_SHOT)
    plain = [row for row in scores.table.rows if row in untrained]
    result = []
    for row in plain:
        base = scores.table.baseline_of(row)
        if base in (None, row) or not (test := scores.compare(base, row)):
            continue
        parts = [f"{_word(test[column])} {_number(test[column])} {name}" for name, column in columns.items()]
        result.append(f"Fine-tuning alone ({base}) {' and '.join(parts)}, against {row}.")
    return result


def _best(scores: Scores, columns: dict[str, str]) -> list[str]:
    """Which row is highest in each column, and whether that is more than chance."""
    result = []
    for name, column in columns.items():
        means = {row: scores.cell(row, column)[0] for row in scores.table.rows if scores.cell(row, column)[2]}
        if len(means) > 1:
            top = max(means, key=means.__getitem__)
            result.append(f"Highest {name}: {top} with {means[top]:.1f} %; {_how_clearly(scores, top, column)}.")
    return result


def _how_clearly(scores: Scores, top: str, column: str) -> str:
    leaders = scores.leaders(column, scores.table.beside(top))
    if missing := sum(scores.absent(row, column) for row in leaders):
        return f"not tested: {missing} run{'s are' if missing > 1 else ' is'} missing"
    if len(leaders) < 2:
        return "nothing to test it against"
    clear = top in scores.best(column)
    return "the paired test puts it above the runner-up" if clear else "not clearly above the runner-up"


def _listed(rows: list[str], what: str) -> str:
    return f"{what[0].upper()}{what[1:]}: {', '.join(rows)}." if rows else f"No row is {what}."


def _line(scores: Scores, row: str, test: dict[str, Paired], columns: dict[str, str]) -> str:
    parts = []
    for name, column in columns.items():
        _, spread, seeds = scores.difference(row, column)
        within = seeds > 1 and abs(test[column].mean) <= spread
        parts.append(f"{_word(test[column])} {_number(test[column])} {name}" + ", within the seeds’ spread" * within)
    every, shared = len(scores.table.seeds), scores.difference(row, columns["ID"])[2]
    return f"{row}: {'; '.join(parts)}{f' (over {shared} of {every} seeds)' * (shared < every)}."


def _word(test: Paired) -> str:
    """Whether the 95 % interval is above zero, below, or neither."""
    return "gains" if test.low > 0 else "loses" if test.high < 0 else "no clear difference:"


def _number(test: Paired) -> str:
    low, high = format_difference(test.low), format_difference(test.high)
    return f"{format_difference(test.mean)} ({low} … {high})"
