"""Families: rows that differ in numbers of one world (gravity, size, cost, seed of a map, dense or sparse rewards)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .building import NAMESPACE, Kwargs

# parts of names that say a size, a degree, a version, or how a world is rewarded or felt, but not which one it is
SETTINGS = re.compile(
    "("
    "[-_]?(v[0-9]+|[0-9]+x[0-9]+|[0-9]+[a-z]{0,3}|[SNR][0-9]+|"
    "Easy|Medium|Hard|Random|Slippery|Debug|Dense|Sparse|(Boolean|Continuous)?TouchSensors|Joints|Continuous)"
    "|[-_](easy|medium|hard|sparse|small|large|coop|continuous|deterministic|pure_state|Discrete|fast|concave|mirrored|"
    "timemove|timespeed|ippc|MDP)"
    "|(Cont|Finite)-[CST]C-"
    ")(?=[A-Z0-9_-]|$)"
)


def default_family(name: str, env_id: str, kwargs: Kwargs, beginnings: Sequence[str] = ()) -> str:
    """The family of a row that names none.

    It is the longest of the library's ``families`` that the row's name begins with; else the row's world without sizes,
    degrees, versions and kinds of reward. The world is the Gymnasium id; where an id makes many worlds, their names are
    texts among the keyword arguments, while numbers, lists and switches are settings of one world.

    Args:
        name: name of the row.
        env_id: its Gymnasium id.
        kwargs: its keyword arguments of `gymnasium.make`.
        beginnings: families of the library.
    """
    if fitting := [beginning for beginning in beginnings if name.startswith(beginning)]:
        return max(fitting, key=len)
    world = kwargs.get("env_id", env_id)
    texts = [value for key, value in kwargs.items() if isinstance(value, str) and key != "env_id"]
    parts = [world_of(text) for text in (world.removeprefix(NAMESPACE), *texts)]
    return "-".join(part for part in parts if part) or world


def world_of(text: str) -> str:
    """The name of a world without its settings."""
    previous = ""
    while text != previous:  # one setting may stand before another
        previous, text = text, SETTINGS.sub("", text)
    return text.strip("-_").replace("/", "-")
