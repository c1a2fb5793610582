"""References of a config to its other keys (`${trainer.base.lr}`): which of them some keys decide."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from omegaconf import AnyNode, DictConfig, Node, OmegaConf, ValueNode
from omegaconf._impl import _resolve_container_value

Place = tuple[Any, ...]  # of a node: keys from the root on
REFERENCE = re.compile(r"\$\{(\w+(?:\.\w+)*)\}")
CONSTANT = "${digrap.repo:}"


def resolve_all_but(cfg: DictConfig, keys: Collection[str]) -> list[Place]:
    """Resolve the references that no value of `keys` changes. Returns the places of the others: what is at, in or
    around such a key, refers to one or to another of these, or calls a function."""
    references = dict(_references(cfg))
    changing: list[Place] = [tuple(key.split(".")) for key in keys]
    left: list[Place] = []
    while more := [one for one in references if one not in left and _changes(one, references[one], changing)]:
        left += more
        changing += more
    for place in references.keys() - set(left):
        resolve_at(cfg, place)
    return left


def resolve_in(cfg: DictConfig, place: Place) -> None:
    """Resolve the references in the mapping at a place."""
    for at, _ in list(_references(_at(cfg, place), place)):
        resolve_at(cfg, at)


def resolve_at(cfg: DictConfig, place: Place) -> None:
    """As OmegaConf.resolve, of one node; nothing where another value has taken its place."""
    parent = _at(cfg, place[:-1])
    if (node := _at(parent, place[-1:])) is None:
        return
    whole = REFERENCE.fullmatch(text) if type(node) is AnyNode and isinstance(text := node._value(), str) else None
    target = _at(cfg, tuple(whole[1].split("."))) if whole else None
    if isinstance(target, ValueNode) and not target._is_interpolation() and not target._is_missing():
        # Without reading the text by OmegaConf's grammar, which takes most of the time.
        node._set_value(target._value())
    else:
        _resolve_container_value(parent, place[-1])


def _at(node: Node | None, place: Place) -> Node | None:
    """The node at a place, as it is; None where there is none."""
    for key in place:
        inside = isinstance(node, DictConfig) and key in node.keys()  # noqa: SIM118 - `in node` would resolve it
        node = node._get_node(key) if inside else None
    return node


def _references(node: DictConfig, at: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every value with references in it, and its text."""
    for key in node.keys():  # noqa: SIM118 - iterating over the node would resolve it
        value = node._get_node(key)
        if isinstance(value, DictConfig) and not value._is_interpolation():
            yield from _references(value, (*at, key))
        elif "${" in (text := _text(value)):
            yield (*at, key), text


def _text(value: Node) -> str:
    whole = OmegaConf.is_list(value) and not value._is_interpolation()
    return str(OmegaConf.to_container(value) if whole else value._value())


def _changes(place: Place, text: str, changing: Sequence[Place]) -> bool:
    text = text.replace(CONSTANT, "")
    targets = [tuple(found.split(".")) for found in REFERENCE.findall(text)]
    if len(targets) < text.count("${"):  # a function, a relative or a nested reference
        return True
    return any(_meet(one, other) for one in (place, *targets) for other in changing)


def _meet(one: Place, other: Place) -> bool:
    """Whether one of the two places is the other's, or in it."""
    return all(str(first) == str(second) for first, second in zip(one, other, strict=False))
