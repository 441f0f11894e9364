#!/usr/bin/env python
"""Many visitors of the demonstration at once: how long the first picture takes, how many pictures each sees.

    python benchmarks/demo.py --json docs/results/benchmarks/demo.json

Each visitor has a thread that takes the scenes of a game as the page does (at most eight pictures a second, three
copies of the environment each), and makes the page's HTML of them. The browsers and Gradio itself are left out.
"""

from __future__ import annotations

import multiprocessing
import threading
import time

import numpy as np
import psutil
import torch
from common import parser, show

from ldm_hf.demo import looks
from ldm_hf.demo.sharing import SharedModel
from ldm_hf.demo.stage import PRELOADED
from ldm_hf.demo.visitors import Visitors
from ldm_hf.environments import get_spec
from ldm_hf.evaluation.pictures import prepare_drawing

IDS = ("CartPole-v1", "Taxi-v4", "MiniGrid-Empty-5x5-v0", "Pendulum-v1", "LunarLander-v3")


def cores() -> float:
    """Seconds of CPU that this process and those that it has started have used."""
    here = psutil.Process()
    found = 0.0
    for process in (here, *here.children(recursive=True)):
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        found += used.user + used.system
    return found


def watch(visitors: Visitors, name: str, number: int, seconds: float, found: list[dict[str, float]]) -> None:
    """One visitor."""
    begun = time.monotonic()
    game = visitors.begin(f"visitor {number}", get_spec(name))
    looks.stage(game.scene)
    first, pictures, characters, start = time.monotonic() - begun, 0, 0, time.monotonic()
    for scene in game.scenes():
        characters += len(looks.stage(scene)) + len(looks.bars(scene.bars, scene.certainty, scene.steps))
        pictures += 1
        if time.monotonic() - start > seconds:
            break
    took = time.monotonic() - start
    found.append({"first": first, "rate": pictures / took, "bytes": characters / took})
    visitors.leave(f"visitor {number}")


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--model", default="model_cards/ldm-nano", help="folder of a model")
    made.add_argument("--references", default="model_cards/ldm-reference-policies", help="folder of references")
    made.add_argument("--visitors", type=int, nargs="+", default=[1, 5, 10, 20], help="visitors at a time")
    made.add_argument("--ids", nargs="+", default=IDS, help="what they play, in turn")
    made.add_argument("--seconds", type=float, default=20.0, help="how long each watches")
    made.add_argument("--start", choices=("forkserver", "spawn"), default="forkserver", help="how processes start")
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    prepare_drawing()
    context = multiprocessing.get_context(args.start)
    context.set_forkserver_preload(PRELOADED)
    model = SharedModel(args.model, max(args.visitors))
    visitors = Visitors(model, args.references, max(args.visitors), context=context)
    watch(visitors, args.ids[0], -1, 0.1, [])  # the server of processes is there, and has imported what they need
    rows = []
    for count in args.visitors:
        found: list[dict[str, float]] = []
        names = [args.ids[number % len(args.ids)] for number in range(count)]
        threads = [
            threading.Thread(target=watch, args=(visitors, name, number, args.seconds, found))
            for number, name in enumerate(names)
        ]
        before, begun = cores(), time.monotonic()
        for thread in threads:
            thread.start()
        time.sleep(args.seconds)
        used = (cores() - before) / (time.monotonic() - begun)  # processes that end take their times with them
        for thread in threads:
            thread.join()
        column = {key: np.array([one[key] for one in found]) for key in ("first", "rate", "bytes")}
        rows.append(
            {
                "visitors": count,
                "first picture, s (median)": float(np.median(column["first"])),
                "first picture, s (slowest)": float(column["first"].max()),
                "pictures/s (median)": float(np.median(column["rate"])),
                "pictures/s (slowest)": float(column["rate"].min()),
                "kB/s a visitor": float(column["bytes"].mean() / 1000),
                "cores": used,
            }
        )
    show("Visitors of the demonstration at once", rows, args)
    visitors.close()
    model.stop()


if __name__ == "__main__":
    main()
