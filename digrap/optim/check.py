"""Check of any torch optimizer against the published test vectors: the first step and tensor that deviate.

    python -m digrap.optim.check some.module:Class --rule digrap

Prints one line per case and a summary. Exit code 0: every case that ran is equal; 1: one deviates; 2: bad input, or
no case ran. Needs torch and safetensors. The vectors are in the package, in digrap/optim/vectors; its README describes
them.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from digrap.optim.arguments import accepted, nearest

VECTORS = Path(__file__).resolve().with_name("vectors")
VERSION = 1


class BadInput(Exception):
    """An argument that cannot be used; the text alone is printed."""


class Skip(Exception):
    """A case that the class cannot take; the text is the reason."""


@dataclass
class Vectors:
    """A folder of test vectors: the manifest and the float64 tensors by key."""

    manifest: dict[str, Any]
    tensors: dict[str, Tensor]

    def each(self, kind: str, case: str = "") -> dict[str, Tensor]:
        """The tensors of a kind ("start", "anchor", "gradient", "expected"; the last of a case) by parameter name."""
        pattern = self.manifest["keys"][kind]
        return {name: self.tensors[pattern.format(tensor=name, case=case)] for name in self.manifest["tensors"]}


def load(folder: Path) -> Vectors:
    """Read a folder of test vectors. Raises BadInput where it is missing, damaged or of another version."""
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise BadInput("the test vectors are safetensors files: python -m pip install safetensors") from None
    if not (folder / "vectors.json").is_file():
        raise BadInput(f"{folder}: vectors.json is missing; the package's own are in {VECTORS}")
    try:
        manifest = json.loads((folder / "vectors.json").read_text(encoding="utf-8"))
        if manifest["version"] != VERSION:
            raise BadInput(f"{folder}: vectors of version {manifest['version']}; this check reads version {VERSION}")
        vectors = Vectors(manifest, load_file(folder / manifest["file"]))
        for case in manifest["cases"]:
            for kind in ("start", "anchor", "gradient", "expected"):
                vectors.each(kind, case["id"])
    except BadInput:
        raise
    except Exception as error:  # safetensors' own errors share no class with the others
        raise BadInput(f"{folder}: the vectors cannot be read ({first_line(error)})") from None
    return vectors


def find(path: str) -> Callable[..., Any]:
    """The class at `module:Class`; the current directory is searched too. Raises BadInput if it cannot be found."""
    module_name, _, name = path.partition(":")
    if not (module_name and name):
        raise BadInput(f"{path}: give module:Class, as in digrap.optim:DiGraP")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever the module does on import
        raise BadInput(f"{module_name}: cannot be imported ({first_line(error)})") from None
    if not callable(found := getattr(module, name, None)):
        classes = [key for key, value in vars(module).items() if inspect.isclass(value)]
        raise BadInput(f"{module_name} has no class {name}; {nearest(name, classes)}")
    return found


def find_rule(name: str, rules: Iterable[str]) -> str:
    """The rule of that name or of that class (MARSSP is mars_sp). Raises BadInput with the nearest names."""
    plain = {"".join(filter(str.isalnum, rule)): rule for rule in rules}
    found = plain.get("".join(filter(str.isalnum, name.lower())))
    if found is None:
        raise BadInput(f"--rule {name}: no such rule; {nearest(name.lower(), plain.values())}")
    return found


def first_line(error: BaseException) -> str:
    """The class of an error and the first line of its text."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def renames(pairs: Iterable[str], options: Iterable[str], names: set[str] | None) -> dict[str, str]:
    """`ours=theirs` pairs as a dict. Raises BadInput for an unknown name on either side."""
    known, result = [*options, "lr"], {}
    for pair in pairs:
        ours, _, theirs = pair.partition("=")
        if not theirs:
            raise BadInput(f"--rename {pair}: give OURS=THEIRS, as in mu=alpha_mu")
        if ours not in known:
            raise BadInput(f"--rename {pair}: the rule has no option {ours}; {nearest(ours, known)}")
        if names is not None and theirs not in names:
            raise BadInput(f"--rename {pair}: the class has no option {theirs}; {nearest(theirs, names)}")
        result[ours] = theirs
    return result


class Check:
    """One class over the cases of one rule, in one dtype."""

    def __init__(self, make: Callable[..., Any], vectors: Vectors, rule: str, dtype: torch.dtype, rename: list[str]):
        self.make, self.vectors, self.dtype = make, vectors, dtype
        self.defaults, self.names = vectors.manifest["defaults"][rule], accepted(make)
        self.rename = renames(rename, self.defaults, self.names)

    def takes(self, option: str) -> bool:
        """Whether the constructor takes this option of ours, renamed if need be."""
        return self.names is None or self.rename.get(option, option) in self.names

    def options(self, case: dict[str, Any]) -> dict[str, Any]:
        """A case's options under the class's names. Raises Skip if the class lacks one that is not at its default."""
        wanted = {"base": case["base"], "anchor": case["anchor"], **case["options"]}
        if not self.takes("base"):
            own = "adamw" if self.takes("betas") else "sgd"
            if wanted.pop("base") != own:
                raise Skip(f"no option base, and it looks like {own}")
        for option in [option for option in wanted if not self.takes(option)]:
            if (value := wanted.pop(option)) != self.defaults[option]:
                raise Skip(f"no option {option} (here {json.dumps(value)})")
        if wanted.get("anchor") == "list":
            wanted["anchor"] = [anchor.to(self.dtype) for anchor in self.vectors.each("anchor").values()]
        if "betas" in wanted:
            wanted["betas"] = tuple(wanted["betas"])
        if self.takes("lr"):
            wanted["lr"] = self.lr(0)
        return {self.rename.get(option, option): value for option, value in wanted.items()}

    def lr(self, row: int) -> float:
        """The learning rate of step `row` + 1."""
        return float(self.vectors.tensors[self.vectors.manifest["keys"]["lr"]][row])

    def build(self, params: list[Tensor], case: dict[str, Any]) -> Any:
        """The optimizer of a case. Raises Skip if the constructor fails, BadInput if the result is not an optimizer."""
        options = self.options(case)
        try:
            optimizer = self.make(params, **options)
        except (Exception, SystemExit) as error:  # code of unknown origin
            raise Skip(f"the constructor raised {first_line(error)}") from None
        if not (hasattr(optimizer, "step") and hasattr(optimizer, "param_groups")):
            raise BadInput("the class makes no torch optimizer: its objects lack step or param_groups")
        return optimizer

    def run(self, case: dict[str, Any], rtol: float) -> str | None:
        """Run all steps of a case. Returns None if every tensor is equal, else the first step and tensor that deviate
        and the worst element of that tensor. Raises Skip or BadInput as `build` does."""
        params = {
            name: torch.nn.Parameter(start.detach().to(self.dtype, copy=True))
            for name, start in self.vectors.each("start").items()
        }
        optimizer = self.build(list(params.values()), case)
        gradients, expected = self.vectors.each("gradient"), self.vectors.each("expected", case["id"])
        for row in range(self.vectors.manifest["steps"]):
            for name, param in params.items():
                param.grad = gradients[name][row].to(self.dtype, copy=True)
            for group in optimizer.param_groups:
                group["lr"] = self.lr(row)
            try:
                optimizer.step()
            except (Exception, SystemExit) as error:
                return f"step {row + 1} raised {first_line(error)}"
            for name, param in params.items():
                if found := deviation(param.detach().double(), expected[name][row], rtol):
                    return f"step {row + 1}, {name}{found}"
        return None


def deviation(got: Tensor, expected: Tensor, rtol: float) -> str | None:
    """None if |got − expected| ≤ rtol · max(1, |expected|) for every element, else the worst element as text."""
    gap = (got - expected).abs()
    if bool((gap <= rtol * expected.abs().clamp(min=1.0)).all()):  # false for NaN
        return None
    worst = torch.unravel_index(gap.nan_to_num(nan=math.inf).argmax(), gap.shape) if gap.ndim else ()
    index = tuple(int(i) for i in worst)
    place = str(list(index)) if index else ""
    return f"{place}: got {float(got[index])!r}, expected {float(expected[index])!r}, off by {float(gap[index]):.3g}"


def report(check: Check, cases: list[dict[str, Any]], rtol: float) -> tuple[int, int]:
    """Run every case and print a line for each, and a summary. Returns the counts of equal and of deviating cases."""
    equal, deviating = 0, 0
    for case in cases:
        try:
            found = check.run(case, rtol)
        except Skip as reason:
            print(f"skipped  {case['id']}: {reason}")
            continue
        equal, deviating = equal + (found is None), deviating + (found is not None)
        print(f"ok       {case['id']}" if found is None else f"FAIL     {case['id']}: {found}")
    skipped = len(cases) - equal - deviating
    print(f"{len(cases)} cases: {equal} equal, {deviating} deviate, {skipped} skipped")
    return equal, deviating


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m digrap.optim.check",
        description="Run a torch optimizer over the published test vectors and print where it first deviates.",
    )
    parser.add_argument("optimizer", metavar="module:Class", help="called as Class(params, **options)")
    parser.add_argument("--rule", required=True, help="vanilla, digrap, l2sp, mars_sp, spd or ftp; or a class's name")
    parser.add_argument("--vectors", type=Path, default=VECTORS, metavar="DIR", help="default: those of the package")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="of the parameters")
    parser.add_argument("--rtol", type=float, help="default: 1e-10 in float64, 1e-5 in float32")
    parser.add_argument(
        "--rename", nargs="+", action="extend", default=[], metavar="OURS=THEIRS", help="options with other names"
    )
    parser.add_argument("--case", default="", metavar="SUBSTRING", help="only cases whose id contains it")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the check and print the outcome. Returns the exit code."""
    given = arguments(argv)
    try:
        vectors = load(given.vectors)
        rule = find_rule(given.rule, vectors.manifest["defaults"])
        rtol = vectors.manifest["tolerance"][given.dtype] if given.rtol is None else given.rtol
        if not rtol >= 0:
            raise BadInput(f"--rtol {rtol}: give a number ≥ 0")
        cases = [case for case in vectors.manifest["cases"] if case["rule"] == rule]
        chosen = [case for case in cases if given.case in case["id"]]
        if not chosen:
            ids = ", ".join(case["id"] for case in cases)
            raise BadInput(f"--case {given.case}: no case of {rule} contains it; valid: {ids}")
        check = Check(find(given.optimizer), vectors, rule, getattr(torch, given.dtype), given.rename)
        equal, deviating = report(check, chosen, rtol)
        if not equal + deviating:
            raise BadInput(f"nothing ran: {given.optimizer} can take no case of {rule} (reasons above)")
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if deviating else 0


if __name__ == "__main__":
    raise SystemExit(main())
