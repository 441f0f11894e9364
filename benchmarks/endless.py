#!/usr/bin/env python
"""Speed of generating histories in endless worlds, against the speed at which a training reads them.

    OMP_NUM_THREADS=1 python benchmarks/endless.py --json outputs/benchmarks/endless.json

CPU time of one thread, for each kind the mean over ``--worlds`` worlds: steps generated per second, and for the longest
history how the time divides into making the world, its optimum, playing and encoding.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from common import Row, parser, show

from ldm_hf import LDMProcessor
from ldm_hf.collection.endless import endless_worlds
from ldm_hf.environments import make
from ldm_hf.environments.specs import numbered
from ldm_hf.layout_ldm import EnvironmentLayout


def milliseconds(work: Callable[[int], object], numbers: range) -> float:
    """Mean CPU milliseconds of a call for each number."""
    started = time.process_time()
    for number in numbers:
        work(number)
    return 1e3 * (time.process_time() - started) / len(numbers)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--lengths", type=int, nargs="+", default=[128, 512], help="steps of a history")
    made.add_argument("--worlds", type=int, default=40, help="number of worlds of each kind")
    args = made.parse_args()
    sizes, rows, numbers = LDMProcessor().sizes, [], range(1, args.worlds + 1)
    for name in endless_worlds(1):
        row: Row = {"kind": name}
        for length in args.lengths:
            worlds = endless_worlds(length)[name]
            worlds.history(0)  # imports
            whole = milliseconds(lambda number: worlds.history(number * length), numbers)  # noqa: B023
            row[f"steps/s, {length}"] = 1e3 * length / whole
        opened, policy = [make(numbered(worlds.info, number)) for number in numbers], worlds.policy
        making = milliseconds(lambda number: make(numbered(worlds.info, number)), numbers)  # noqa: B023
        optimum = milliseconds(lambda number: policy(opened[number - 1]), numbers)  # noqa: B023
        histories = [worlds.history(number * length) for number in numbers]

        def encode(number: int) -> None:
            history = histories[number - 1]  # noqa: B023
            layout = EnvironmentLayout(sizes, history.observation_space, history.action_space)
            layout.encode_segment(history.steps)

        encoding = milliseconds(encode, numbers)
        row |= {"world, ms": making, "optimum, ms": optimum, "playing, ms": whole - making - optimum}
        rows.append(row | {"encoding, ms": encoding})
    show(f"Histories in {args.worlds} worlds of each kind", rows, args)


if __name__ == "__main__":
    main()
