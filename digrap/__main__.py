"""`python -m digrap`: what there is, a command a line."""

from __future__ import annotations

import ast

from digrap.core.paths import REPO

OWN = {
    "python train.py": "fine-tune: one run, a sweep (-m), or a table (-m table=…)",
    "python evaluate.py": "score a run or a backbone, on its own or on other data",
    "python -m digrap.optim.check": "check an optimizer of your own against the published test vectors",
}


def commands() -> dict[str, str]:
    """Return {command: what it does}; without a clone of the repository those of the package alone."""
    scripts = sorted((REPO / "scripts").glob("[!_]*.py"))
    found = {name: text for name, text in OWN.items() if scripts or name.startswith("python -m")}
    for script in scripts:
        text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
        what = text.partition(": --help")[0]
        found[f"python scripts/{script.name}"] = what[:1].lower() + what[1:]
    return found


def main() -> None:
    """Print the commands."""
    found = commands()
    width = max(map(len, found))
    print("DiGraP: directional gradient projection for robust fine-tuning. All commands take --help.\n")
    print("\n".join(f"  {command:{width}}  {what}" for command, what in found.items()))
    if (REPO / "Makefile").is_file():
        print(
            "\n`make help` lists demo, report, judge, verify and the tests; start with the two commands in README.md."
        )


if __name__ == "__main__":
    main()
