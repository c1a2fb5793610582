"""A table's numbers as Markdown, LaTeX (booktabs) and csv."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator

from digrap.report import edges, matched_column
from digrap.report.findings import findings
from digrap.report.formats import EMPTY, format_difference, format_score
from digrap.report.paired import ALPHA, DRAWS
from digrap.report.scores import Scores
from digrap.tables.spec import PILOT, Row

LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "±": r"$\pm$", "—": "---", "Δ": r"$\Delta$",
         "ω": r"$\omega$", "µ": r"$\mu$", "μ": r"$\mu$", "λ": r"$\lambda$", "→": r"$\to$", "−": "$-$", "<": "$<$",
         ">": "$>$", "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "“": "``",
         "”": "''", "^": r"\textasciicircum{}", "·": r"$\cdot$"}  # fmt: skip


WIDE = 12  # columns of a LaTeX table; one with more is scaled to the page
CSV = ["row", "column", "kind", "mean", "std", "n", "delta", "delta_low", "delta_high", "bold", "published"]


class Bold(str):
    """Text to print bold."""


def title(scores: Scores) -> str:
    """The table's title, marked where its seeds are those of development."""
    return scores.table.title + (f" — pilot (seeds below {PILOT})" if scores.table.pilot else "")


def header(scores: Scores) -> list[str]:
    """The table's column titles."""
    named = scores.table.columns  # titles of the table's own stay as they are
    titles = [f"{name} (ID)" if name == scores.identity and name not in named else name for name in scores.printed]
    return ["", *titles, *_compared(scores), *([matched_column.TITLE] if scores.table.matched else []), "n"]


def _compared(scores: Scores) -> dict[str, str]:
    """Title of a difference → the column that it is of."""
    found = {"Δ ID": scores.identity, "Δ OOD": scores.ood_mean} if scores.table.baseline else {}
    return {title: column for title, column in found.items() if column}


def body(scores: Scores) -> Iterator[list[str]]:
    """The table's rows as text: mean ± standard deviation, differences to the baseline, number of runs. A row with
    published numbers is followed by them."""
    compared = _compared(scores).values()
    best = {column: scores.best(column) for column in scores.printed}
    for row in scores.table.rows:
        cells = {column: scores.cell(row, column) for column in scores.printed}
        texts = [row]
        for column, (mean, std, _) in cells.items():
            texts.append(Bold(format_score(mean, std)) if row in best[column] else format_score(mean, std))
        itself = row == scores.table.baseline_of(row)
        texts += [EMPTY if itself else format_difference(scores.difference(row, column)[0]) for column in compared]
        if scores.table.matched:
            texts.append(matched_column.cell(scores, row))
        yield [*texts, str(max(n for *_, n in cells.values()))]
        if targets := scores.table.targets.get(row):
            published = [format_score(targets.get(column, math.nan), math.nan) for column in scores.printed]
            yield [f"{row}, published", *published, *[""] * (len(texts) - 1 - len(published)), ""]


def notes(scores: Scores) -> list[str]:
    """The facts that a reader needs to judge the numbers, a sentence or two a line."""
    table = scores.table
    varies = "draws its own pictures and order" if scores.source.own_pictures else "changes the order only"
    units = "seeds, and examples within each" if scores.source.own_pictures else "seeds, and examples once for all"
    lines = [
        f"{_measure(scores)} in %, mean ± sample standard deviation over n runs; seeds {_listed(table.seeds)}; "
        f"a seed {varies}.",
        f"Checkpoint: best ID validation.{_selection(scores)}",
    ]
    lines += _caveats(scores)
    if table.columns:
        lines.append(f"Columns: {'; '.join(f'{title}: {name}' for title, name in table.columns.items())}.")
    if table.baseline:
        blocks = any(row.block for row in table.rows.values())
        lines.append(f"Δ: mean difference to “{table.baseline}”{' of the same block' * blocks}, seed by seed.")
    lines.append(
        "Bold: the best of a column, where all its runs and the runner-up's are there and a paired bootstrap over "
        f"{units}, puts it above the runner-up (one-sided p < {ALPHA}, {DRAWS:,} draws)."
    )
    if table.matched:
        lines += matched_column.notes(scores)
    if chosen := _chosen(scores):
        lines.append(f"Chosen on ID validation: {'; '.join(chosen)}.")
    if scores.source.explained and (edge := edges.note(scores)):
        lines.append(edge)
    if table.targets:
        lines.append(f"Published: {table.source}.")
    if scores.runs:
        lines.append(_provenance(scores))
    lines += _decoding(scores)
    return [*lines, *how_many_missing(scores)]


def how_many_missing(scores: Scores) -> list[str]:
    """The sentence on runs that are missing, if any are."""
    every = len(scores.table.rows) * len(scores.table.seeds)
    return [f"{len(scores.missing)} of {every} runs are missing."] if scores.missing else []


def _caveats(scores: Scores) -> list[str]:
    """Each caveat of the results, with the blocks that it concerns where the others are without it."""
    blocks: dict[str, dict[str | None, None]] = {}
    for run in scores.runs:
        for caveat in run.results.caveats:
            blocks.setdefault(caveat, {})[scores.table.rows[run.row].block] = None
    every = len({row.block for row in scores.table.rows.values()})
    where = {text: "" if len(found) == every else f" ({', '.join(map(str, found))})" for text, found in blocks.items()}
    return sorted(f"Caveat{where[text]}: {text}." for text in blocks)


def commands(scores: Scores) -> list[str]:
    """The commands that make what is missing, each once."""
    return list(dict.fromkeys(missing.command for missing in scores.missing))


def _listed(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))


def _selection(scores: Scores) -> str:
    search = scores.table.search
    if not scores.table.searches:
        return _taken(scores)
    rule = {
        "best": "best ID validation",
        "one_std_error": "the first of its grid within one standard error of the best ID validation",
    }[search.rule]
    if search.seeds is None:
        where = "every seed by itself"
    else:
        where = f"on seed{'s' * (len(search.seeds) > 1)} {_listed(search.seeds)}, for all seeds"
    return f" Hyper-parameters: {rule}, {where}."


def _taken(scores: Scores) -> str:
    """Of which tables rows take the winners (best=<table>/<row>); nothing where none does."""
    words = [word for row in scores.table.rows.values() for word in row.overrides if word.startswith("best=")]
    tables = sorted({word.removeprefix("best=").partition("/")[0] for word in words})
    return f" Hyper-parameters: the winners of {', '.join(tables)}, none tuned here." if tables else ""


def _chosen(scores: Scores) -> list[str]:
    """The values that the search chose: `vanilla lr 1e-3`, or with the seeds of every choice where they differ."""
    lines = []
    for row in scores.table.rows.values():
        found: dict[str, list[int]] = {}
        for run in scores.runs:
            if run.row == row.label and row.grid:
                found.setdefault(_values(row, run.overrides), []).append(run.seed)
        if len(found) == 1:
            lines.append(f"{row.label} {next(iter(found))}")
        elif found:
            parts = [f"{text} (seed{'s' * (len(seeds) > 1)} {_listed(tuple(seeds))})" for text, seeds in found.items()]
            lines.append(f"{row.label} {', '.join(parts)}")
    return lines


def _values(row: Row, overrides: tuple[str, ...]) -> str:
    """The grid's keys among a run's overrides, by their last part where that tells them apart."""
    given = dict(override.lstrip("+").split("=", 1) for override in overrides)
    short = {key: key.rpartition(".")[2] for key in row.grid}
    clear = len(set(short.values())) == len(short)
    return " ".join(f"{short[key] if clear else key} {given[key]}" for key in row.grid)


def _measure(scores: Scores) -> str:
    """`Accuracy`, with the name of the scorer where that says more."""
    scorer = next((run.scorer(scores.table.scorer) for run in scores.runs), scores.table.scorer)
    return "Accuracy" if scorer in (None, "accuracy") else f"Accuracy by the scorer {scorer}"


def _provenance(scores: Scores) -> str:
    made = [run.results for run in scores.runs]
    versions = sorted(
        {f"{name} {run.versions.get(name, '?')}" for run in made for name in ("torch", "timm")}
        | {f"{name} {run.versions[name]}" for run in made for name in ("transformers", "peft") if name in run.versions}
    )
    commits = sorted({run.commit[:10] + (" with local changes" if run.dirty else "") for run in made})
    devices = sorted({run.device for run in made})
    protocols = sorted({run.protocol for run in made if run.protocol})
    text = f"Commit {', '.join(commits)}; {', '.join(versions)}; device {', '.join(devices)}"
    return text + (f"; protocol {', '.join(protocols)}." if protocols else ".")


def _decoding(scores: Scores) -> list[str]:
    """How the runs that answer questions search for an answer."""
    found = {
        f"{how['name']} ({how['beams']} beam{'s' * (how['beams'] > 1)}, at most {how['max_new_tokens']} tokens)"
        for run in scores.runs
        if (how := run.results.plain.get("decoding"))
    }
    return [f"Decoding: {', '.join(sorted(found))}."] if found else []


def files(scores: Scores) -> dict[str, str]:
    """File name → text, of every form."""
    name = scores.table.name
    return {f"{name}.md": markdown(scores), f"{name}.tex": latex(scores), f"{name}.csv": as_csv(scores)}


def markdown(scores: Scores) -> str:
    """The table with its title and notes, and the commands for what is missing."""
    titles = header(scores)
    lines = [f"**{title(scores)}**", "", _pipes(titles), _pipes(["---", *["---:"] * (len(titles) - 1)])]
    lines += [_pipes(row) for row in body(scores)]
    lines += ["", *(f"- {line}" for line in notes(scores))]
    if scores.source.explained and (found := findings(scores)):
        lines += ["", "What was seen:", "", *(f"- {line}" for line in found)]
    if scores.missing:
        lines += ["", "These commands make what is missing:", "", *(f"    {line}" for line in commands(scores))]
    return "\n".join(lines) + "\n"


def _pipes(cells: list[str]) -> str:
    texts = [cell.replace("|", "\\|") for cell in cells]
    marked = [f"**{text}**" if isinstance(cell, Bold) else text for cell, text in zip(cells, texts, strict=True)]
    return "| " + " | ".join(marked) + " |"


def latex(scores: Scores) -> str:
    """A booktabs table environment; the notes are its caption."""
    titles, caption = header(scores), " ".join([f"{title(scores)}.", *notes(scores)])
    wide = len(titles) > WIDE
    lines = [
        f"% needs \\usepackage{{booktabs{',graphicx' * wide}}}", r"\begin{table}", r"  \centering",
        f"  \\caption{{{escape(caption)}}}", *([r"  \resizebox{\textwidth}{!}{%"] if wide else []),
        f"  \\begin{{tabular}}{{l{'r' * (len(titles) - 1)}}}", r"    \toprule",
        _ampersands(titles), r"    \midrule", *(_ampersands(row) for row in body(scores)),
        r"    \bottomrule", r"  \end{tabular}" + "}" * wide, r"\end{table}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _ampersands(cells: list[str]) -> str:
    marked = [f"\\textbf{{{escape(cell)}}}" if isinstance(cell, Bold) else escape(cell) for cell in cells]
    return "    " + " & ".join(marked) + r" \\"


def escape(text: str) -> str:
    """Text as LaTeX source."""
    return "".join(LATEX.get(character, character) for character in text)


def as_csv(scores: Scores) -> str:
    """One line per row and column: mean, std and delta to the baseline with full precision, delta's 95 % interval, 1
    where the cell is bold, the published number. At matched ID accuracy the mean is vanilla's and delta the gain."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV)
    best = {column: scores.best(column) for column in scores.columns}
    for row in scores.table.rows:
        base = scores.table.baseline_of(row)
        tests = {} if base in (None, row) else scores.compare(row, base)
        for column, kind in scores.columns.items():
            mean, std, n = scores.cell(row, column)
            delta, *_ = scores.difference(row, column)
            interval = [f"{value:.3f}" for value in (tests[column].low, tests[column].high)] if tests else ["", ""]
            numbers, published = [_exact(mean), _exact(std), n, _exact(delta)], scores.table.targets.get(row, {})
            bold = int(row in best[column])
            writer.writerow([row, column, kind, *numbers, *interval, bold, published.get(column, "")])
        if scores.table.matched:
            writer.writerow(matched_column.csv_line(scores, row))
    return file.getvalue()


def _exact(value: float) -> str:
    return "" if math.isnan(value) else repr(value)
