"""A table's numbers as Markdown, LaTeX (booktabs) and csv."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator

from digrap.results.scores import OOD_MEAN, Scores

EMPTY = "—"
LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "±": r"$\pm$", "—": "---", "Δ": r"$\Delta$",
         "ω": r"$\omega$", "µ": r"$\mu$", "λ": r"$\lambda$", "→": r"$\to$", "−": "$-$", "\\": r"\textbackslash{}",
         "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "·": r"$\cdot$"}  # fmt: skip


def header(scores: Scores) -> list[str]:
    """The table's column titles."""
    identity = next((name for name, kind in scores.columns.items() if kind == "id_test"), None)
    titles = ["", *(f"{name} (ID)" if name == identity else name for name in scores.columns)]
    return [*titles, *(["Δ ID", "Δ OOD"] if scores.table.baseline else []), "n"]


def body(scores: Scores) -> Iterator[list[str]]:
    """The table's rows as text: mean ± standard deviation, differences to the baseline, number of runs."""
    compared = [name for name, kind in scores.columns.items() if kind == "id_test" or name == OOD_MEAN]
    for row in scores.table.rows:
        cells = [scores.cell(row, column) for column in scores.columns]
        texts = [row, *(number(mean, std) for mean, std, _ in cells)]
        if scores.table.baseline:
            itself = row == scores.table.baseline
            texts += [EMPTY if itself else signed(scores.difference(row, column)[0]) for column in compared]
        yield [*texts, str(max(n for *_, n in cells))]


def number(mean: float, std: float) -> str:
    """`79.3 ± 0.4`; without the spread where one run gives none; `—` for no run."""
    if math.isnan(mean):
        return EMPTY
    return f"{mean:.1f}" if math.isnan(std) else f"{mean:.1f} ± {std:.1f}"


def signed(mean: float) -> str:
    """`+0.4` or `−0.4`; `—` for no number."""
    return EMPTY if math.isnan(mean) else f"{round(mean, 1) + 0.0:+.1f}".replace("-", "−")  # + 0.0: no −0.0


def notes(scores: Scores) -> list[str]:
    """What a reader must know of the numbers, one sentence or command a line."""
    table = scores.table
    seeds = ", ".join(map(str, table.seeds))
    lines = [
        f"Accuracy in %, mean ± sample standard deviation over the seeds {seeds} (n runs); a seed draws its own "
        "pictures and order. Checkpoint: best ID validation."
    ]
    if table.baseline:
        lines.append(f"Δ: mean difference to “{table.baseline}”, seed by seed.")
    if scores.runs:
        lines.append(_provenance(scores))
    if scores.missing:
        lines.append(f"{len(scores.missing)} of {len(table.all_cells())} runs are missing; these commands make them:")
        lines += [f"    {cell.command}" for cell in scores.missing]
    return lines


def _provenance(scores: Scores) -> str:
    versions = sorted({f"{name} {run['versions'][name]}" for run in scores.runs for name in ("torch", "timm")})
    commits = sorted({run["commit"][:10] + (" with local changes" if run["dirty"] else "") for run in scores.runs})
    devices = sorted({run["device"] for run in scores.runs})
    return f"Commit {', '.join(commits)}; {', '.join(versions)}; device {', '.join(devices)}."


def markdown(scores: Scores) -> str:
    """The table with its title and notes."""
    titles = header(scores)
    lines = [f"**{scores.table.title}**", "", _pipes(titles), _pipes(["---", *["---:"] * (len(titles) - 1)])]
    lines += [_pipes(row) for row in body(scores)]
    return "\n".join([*lines, "", *notes(scores)]) + "\n"


def _pipes(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def latex(scores: Scores) -> str:
    """A booktabs table environment."""
    titles, caption = header(scores), " ".join([f"{scores.table.title}.", *_sentences(scores)])
    lines = [
        "% needs \\usepackage{booktabs}", r"\begin{table}", r"  \centering", f"  \\caption{{{escape(caption)}}}",
        f"  \\begin{{tabular}}{{l{'r' * (len(titles) - 1)}}}", r"    \toprule",
        "    " + " & ".join(escape(title) for title in titles) + r" \\", r"    \midrule",
        *("    " + " & ".join(escape(cell) for cell in row) + r" \\" for row in body(scores)),
        r"    \bottomrule", r"  \end{tabular}", r"\end{table}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _sentences(scores: Scores) -> list[str]:
    """The notes without the commands, which belong in no caption."""
    return [line for line in notes(scores) if not line.startswith("    ") and not line.endswith(":")]


def escape(text: str) -> str:
    """Text as LaTeX source."""
    return "".join(LATEX.get(character, character) for character in text)


def as_csv(scores: Scores) -> str:
    """One line a row and column, with full precision: row, column, kind, mean, std, n, delta to the baseline."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["row", "column", "kind", "mean", "std", "n", "delta"])
    for row in scores.table.rows:
        for column, kind in scores.columns.items():
            mean, std, n = scores.cell(row, column)
            delta, *_ = scores.difference(row, column)
            numbers = ["" if math.isnan(value) else repr(value) for value in (mean, std)]
            writer.writerow([row, column, kind, *numbers, n, "" if math.isnan(delta) else repr(delta)])
    return file.getvalue()
