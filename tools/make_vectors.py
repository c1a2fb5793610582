"""The published test vectors, from the slow references: `python -m tools.make_vectors [out=digrap/optim/vectors]`.

Writes <out>/vectors.json and vectors.safetensors; the README.md there says what is in them. The inputs are built so
that every rule acts in every case; a case in which it does not is an error. Takes a second.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import safetensors.numpy

from digrap.cli.arguments import bare_keys
from digrap.cli.door import door
from digrap.core.errors import DigrapError
from digrap.core.files import write_atomically, write_text
from digrap.core.paths import REPO
from tests.reference import RULES
from tests.reference.base import Rule, inner, norm, rows

VERSION = 1
STEPS = 24
SHAPES = {"matrix": (4, 3), "vector": (5,), "kernel": (3, 2, 2, 2), "scalar": ()}
SLOW = {
    "vanilla": Rule,  # anchor="none": the plain base
    "digrap": RULES["DiGraP"],
    "l2sp": RULES["L2SP"],
    "mars_sp": RULES["MARSSP"],
    "spd": RULES["SPD"],
    "ftp": RULES["FTP"],
}
COMMON = {"betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0, "nesterov": False}
SYMBOLS = {
    "vanilla": {},
    "digrap": {"mu": 0.1, "lam": 0.0, "rule": "conflict", "normalize": "rows", "omega": None, "omega_max": 1.0},
    "l2sp": {"lam": 0.01},
    "mars_sp": {"lam": 0.01},
    "spd": {"strength": 0.5},
    "ftp": {"k": 1.0, "mu": 0.01},
}
# A large eps, so that one in another place is seen.
BASES = {
    "adamw": {"base": "adamw", "betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.05},
    "sgd": {"base": "sgd", "momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
    "plain_sgd": {"base": "sgd"},
}
ANCHORS = ("init", "zero", "list")
# With every base and every anchor:
VARIANTS = {
    "digrap": {
        "learnt": {},
        "fixed": {"omega": 0.6},
        "listing_tensor_lam": {"rule": "listing", "normalize": "tensor", "lam": 0.2, "mu": 0.2},
    },
    "l2sp": {"lam0.2": {"lam": 0.2}},
    "mars_sp": {"lam0.2": {"lam": 0.2}},
    "spd": {"strength0.5": {}, "strength1.5": {"strength": 1.5}},
    "ftp": {"k1": {"mu": 0.2}, "k0.5": {"k": 0.5, "mu": 0.2}, "k0": {"k": 0.0, "mu": 0.2}},
}
# With every base and anchor "init":
MORE = {
    "digrap": {
        "listing": {"rule": "listing"},
        "tensor": {"normalize": "tensor"},
        "none": {"normalize": "none"},
        "omega_max": {"omega_max": 0.15},
        "fixed_listing_lam": {"omega": 0.6, "rule": "listing", "lam": 0.2},
    },
}


def inputs() -> dict[str, np.ndarray]:
    """Start values, anchors, gradients by step, learning rates: multiples of 1/1024, exact in float32 too.

    Every tensor has a direction; `pull` says how far each gradient follows it. It persists (FTP's bound grows), then
    reverses every step (DiGraP's ω grows), twice so far that θ ends beyond its anchor (SPD shrinks), then persists
    again. Rows differ in size, so that FTP's bound cuts some only; one has no gradient.
    """
    random = np.random.RandomState(5)  # its stream is frozen, default_rng's isn't
    pull = [0.4] * 6 + [-4] + [1, -1] * 3 + [5] + [-1, 1] * 2 + [-1] * 6
    made = {"lr": 0.06 * (1 + 0.5 * np.cos(np.arange(STEPS) / 3))}
    for name, shape in SHAPES.items():
        drift = random.standard_normal(shape)
        drift = np.sign(drift) * (0.3 + np.abs(drift))  # a scalar of nearly 0 would do nothing
        noise = 0.4 * random.standard_normal((STEPS, *shape))
        size = np.ones(shape)
        if len(shape) > 1:
            share = (np.arange(shape[0]) + 2.0) / (shape[0] + 1)
            size = size * share.reshape(-1, *[1] * (len(shape) - 1))
        made[f"start.{name}"] = 0.3 * random.standard_normal(shape)
        made[f"anchor.{name}"] = made[f"start.{name}"] + 0.25 * random.standard_normal(shape)
        made[f"gradient.{name}"] = np.stack([size * force * drift for force in pull]) + noise
    made["gradient.matrix"][:, 2] = 0.0
    return {key: np.asarray(np.round(value * 1024) / 1024) for key, value in made.items()}


def cases() -> Iterator[dict]:
    """The manifest's entry of every case: each option, defaults too."""
    for label, base in BASES.items():
        yield case("vanilla", label, base, "none", "", {})
    for rule, variants in VARIANTS.items():
        for (label, base), anchor in itertools.product(BASES.items(), ANCHORS):
            chosen = variants | (MORE.get(rule, {}) if anchor == "init" else {})
            for variant, symbols in chosen.items():
                yield case(rule, label, base, anchor, f"-{variant}", symbols)


def case(rule: str, label: str, base: dict, anchor: str, ending: str, symbols: dict) -> dict:
    options = COMMON | SYMBOLS[rule] | {key: value for key, value in base.items() if key != "base"} | symbols
    name = f"{rule}-{label}" + ("" if anchor == "none" else f"-{anchor}") + ending
    return {"id": name, "rule": rule, "base": base["base"], "anchor": anchor, "options": options}


def walk(entry: dict, given: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, list]]:
    """θ after every step by tensor, and what was seen in every step by tensor."""
    thetas, seen = {}, {}
    for name in SHAPES:
        anchor = given[f"anchor.{name}"] if entry["anchor"] == "list" else entry["anchor"]
        rule = SLOW[entry["rule"]](given[f"start.{name}"], base=entry["base"], anchor=anchor, **entry["options"])
        after, seen[name] = [], []
        for g, lr in zip(given[f"gradient.{name}"], given["lr"], strict=True):
            delta = rule.theta - rule.anchor
            rule.shrunk = False
            after.append(rule.step(g, float(lr)))
            seen[name].append(SimpleNamespace(**(vars(rule) | {"g": g, "delta": delta})))
        thetas[name] = np.stack(after)
    return thetas, seen


# --- every case must be worth something -----------------------------------------------------------------------------


def need(entry: dict, true: bool, what: str) -> None:
    if not true:
        raise DigrapError(f"case {entry['id']} is worth nothing: {what}; change inputs()")


def digrap_acts(entry: dict, seen: dict[str, list]) -> None:
    angles_are_clear(entry, seen)
    top = entry["options"]["omega_max"]
    for name, steps in seen.items():
        # at the anchor, d = 0 is no conflict
        need(entry, 3 < sum(step.conflict for step in steps) < STEPS - 3, f"{name} conflicts nearly always or never")
    if entry["options"]["omega"] is None:
        for name in ("matrix", "vector", "kernel"):
            inside = {step.omega for step in seen[name] if 0 < step.omega < top}
            need(entry, len(inside) > 4 or top < 1, f"ω of {name} does not move inside (0, ω_max)")
            need(entry, top == 1 or any(step.omega == top for step in seen[name]), f"ω of {name} stays under ω_max")


def spd_acts(entry: dict, seen: dict[str, list]) -> None:
    angles_are_clear(entry, seen)
    shrunk = [step.shrunk for steps in seen.values() for step in steps]
    need(entry, sum(shrunk) > 1 and not all(shrunk), "SPD shrinks hardly or always")


def ftp_acts(entry: dict, seen: dict[str, list]) -> None:
    cut = [step for step in seen["kernel"] if step.gamma > 1e-8 and min(step.s) < step.gamma < max(step.s)]
    need(entry, len(cut) > 2, "the bound does not cut some rows only")


def mars_acts(entry: dict, seen: dict[str, list]) -> None:
    chosen = set()
    for name, steps in seen.items():
        for step in steps:
            sums = np.sort(np.abs(rows(step.delta)).sum(axis=1))
            if len(sums) > 1 and sums[-1] > 0:
                need(entry, sums[-1] - sums[-2] > 1e-4 * sums[-1], f"which row of {name} is the largest is a near tie")
                chosen.add((name, int(np.argmax(np.abs(rows(step.delta)).sum(axis=1)))))
    need(entry, len(chosen) > 3, "the largest row is always the same")


def angles_are_clear(entry: dict, seen: dict[str, list]) -> None:
    """The sign of <g, δ> must not hang on rounding, float32's neither."""
    for name, steps in seen.items():
        for step in steps:
            size = norm(step.g) * norm(step.delta)
            need(entry, size == 0 or abs(inner(step.g, step.delta)) > 1e-4 * size, f"{name}: g is nearly normal to δ")


ACTS = {"digrap": digrap_acts, "spd": spd_acts, "ftp": ftp_acts, "mars_sp": mars_acts}


def all_differ(entries: list[dict], expected: dict[str, np.ndarray]) -> None:
    """No two cases of a base and an anchor may be alike, none like the base alone."""
    for a, b in itertools.combinations(entries, 2):
        same_base = all(a["options"][key] == b["options"][key] for key in COMMON) and a["base"] == b["base"]
        if same_base and a["anchor"] in (b["anchor"], "none"):
            gap = max(np.abs(expected[f"{a['id']}.{x}"] - expected[f"{b['id']}.{x}"]).max() for x in SHAPES)
            need(b, gap > 1e-3, f"it is {a['id']} again")


# --- files ----------------------------------------------------------------------------------------------------------


def make() -> tuple[dict, dict[str, np.ndarray]]:
    """The manifest and all tensors. Raises DigrapError where a rule does nothing in a case."""
    given, expected, entries = inputs(), {}, list(cases())
    for entry in entries:
        thetas, seen = walk(entry, given)
        ACTS.get(entry["rule"], lambda *_: None)(entry, seen)
        expected |= {f"{entry['id']}.{name}": theta for name, theta in thetas.items()}
    all_differ(entries, expected)
    manifest = {
        "version": VERSION,
        "file": "vectors.safetensors",
        "steps": STEPS,
        "tensors": {name: list(shape) for name, shape in SHAPES.items()},
        "keys": {
            "start": "start.{tensor}",
            "anchor": "anchor.{tensor}",
            "gradient": "gradient.{tensor}",
            "lr": "lr",
            "expected": "{case}.{tensor}",
        },
        "tolerance": {"test": "|got - expected| <= rtol * max(1, |expected|)", "float64": 1e-10, "float32": 1e-5},
        "defaults": {
            rule: {"base": "adamw", "anchor": "none" if rule == "vanilla" else "init", **COMMON, **symbols}
            for rule, symbols in SYMBOLS.items()
        },
        "cases": entries,
    }
    return manifest, given | expected


def as_text(manifest: dict) -> str:
    """JSON with one line a case, so that a change reads as one."""
    head = json.dumps({key: value for key, value in manifest.items() if key != "cases"}, indent=1, allow_nan=False)
    lines = ",\n".join(f"  {json.dumps(entry, allow_nan=False)}" for entry in manifest["cases"])
    return f'{head.removesuffix("}").rstrip()},\n "cases": [\n{lines}\n ]\n}}\n'


def main() -> None:
    """Make, write."""
    out = Path(bare_keys(sys.argv[1:], {"out": str(REPO / "digrap" / "optim" / "vectors")}).out)
    manifest, tensors = make()
    write_atomically(out / manifest["file"], lambda file: file.write(safetensors.numpy.save(tensors)))
    write_text(out / "vectors.json", as_text(manifest))
    size = sum(path.stat().st_size for path in (out / manifest["file"], out / "vectors.json"))
    print(f"written: {len(manifest['cases'])} cases to {out}, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
