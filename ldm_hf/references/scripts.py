"""Scripted policies that libraries ship, with other numbers than those in their text: gains, distances, thresholds."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Sequence
from functools import cache
from types import CodeType

from ..errors import LDMError
from .tuning import Number


class _Numbers(ast.NodeTransformer):
    """Turns the numbers of a script into elements of a vector called ``numbers``; indices stay."""

    def __init__(self, integers: bool) -> None:
        self.kinds: tuple[type[int | float], ...] = (int, float) if integers else (float,)
        self.found: list[float] = []

    def visit_Dict(self, node: ast.Dict) -> ast.Dict:  # which element of an array is what
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.Subscript:
        node.value = self.visit(node.value)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, self.kinds) or isinstance(node.value, bool):
            return node
        self.found.append(float(node.value))
        return ast.parse(f"numbers[{len(self.found) - 1}]", mode="eval").body


@cache
def _script(policy: type, integers: bool) -> tuple[CodeType, tuple[float, ...]]:
    """The code of a script that reads its numbers from ``numbers``, and those that are written in it."""
    numbers = _Numbers(integers)
    tree = numbers.visit(ast.parse(textwrap.dedent(inspect.getsource(policy))))
    return compile(ast.fix_missing_locations(tree), inspect.getfile(policy), "exec"), tuple(numbers.found)


def numbers_of(policy: type, integers: bool = True) -> Number:
    """The numbers in the text of a script as a parameter to be tuned, in their order and without their signs.

    Args:
        policy: class of the script.
        integers: whether integers are among them; indices and elements of dictionaries never are.
    """
    written = _script(policy, integers)[1]
    return Number(written, tuple(0.02 + abs(number) / 4 for number in written))


def with_numbers(policy: type, numbers: Sequence[float], integers: bool = True) -> type:
    """The class of a script, with other numbers.

    Args:
        policy: class of the script.
        numbers: as many as `numbers_of` finds.
        integers: as in `numbers_of`.

    Raises:
        LDMError: if there are more or fewer of them, as after an update of the library.
    """
    code, written = _script(policy, integers)
    if len(numbers) != len(written):
        raise LDMError(
            f"{policy.__module__}.{policy.__name__} has {len(written)} numbers, not {len(numbers)}; `numbers` is for "
            "another version of the library: search anew by ldm reference --tune"
        )
    names = dict(vars(sys.modules[policy.__module__])) | {"numbers": tuple(numbers)}
    exec(code, names)
    changed: type = names[policy.__name__]
    return changed
