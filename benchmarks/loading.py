#!/usr/bin/env python
"""CPU time to load a model and choose its first action, by the number of environments that it knows.

    python benchmarks/loading.py --json docs/results/benchmarks/loading.json

Every load is a process of its own; they take turns. Imports are not counted. "files" is how environments are saved;
"processor_config.json" is the former form, in which transformers reads and prints all of them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import Row, parser, show

from ldm_hf import LDMProcessor

CHILD = """
import sys, time
import gymnasium, torch
from ldm_hf import LDMAgent, LDMForActionPrediction, LDMProcessor
torch.set_num_threads(int(sys.argv[2]))
env = gymnasium.make("CartPole-v1")
observation, info = env.reset(seed=0)
started = time.process_time()
agent = LDMAgent.from_pretrained(sys.argv[1], env)
agent.act(observation, info=info)
assert agent.known_statistics
print(time.process_time() - started)
"""
FORMS = ("files", "processor_config.json")


def write(model: Path, folder: Path, count: int, form: str) -> None:
    """A copy of a model that knows ``count`` environments: its own, and as many more under made-up names."""
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(model / name, folder)
    processor = LDMProcessor.from_pretrained(model)
    known = dict(processor.environments)
    others = [entry for name, entry in known.items() if name != "CartPole-v1"]
    processor.environments.clear()
    processor.environments["CartPole-v1"] = known["CartPole-v1"]
    for number in range(count - 1):
        processor.environments[f"Made-up-{number}-v0"] = others[number % len(others)]
    processor.save_pretrained(folder)
    if form == "processor_config.json":
        path = folder / form
        told = json.loads(path.read_text()) | {"environments": dict(processor.environments)}
        path.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--model", type=Path, default=Path("model_cards/ldm-nano"), help="folder of a model")
    made.add_argument("--counts", type=int, nargs="+", default=[1, 500, 3000], help="numbers of environments")
    made.add_argument("--repeats", type=int, default=5, help="loads of each model")
    args = made.parse_args()
    seconds: dict[tuple[int, str], list[float]] = {(count, form): [] for form in FORMS for count in args.counts}
    with tempfile.TemporaryDirectory() as scratch:
        for count, form in seconds:
            write(args.model, Path(scratch) / form / str(count), count, form)
        for _ in range(args.repeats):
            for (count, form), times in seconds.items():
                command = [sys.executable, "-c", CHILD, str(Path(scratch) / form / str(count)), str(args.threads)]
                times.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        sizes = {
            (count, form): sum(
                path.stat().st_size
                for path in (Path(scratch) / form / str(count)).iterdir()
                if path.name.startswith("processor") or (form == "files" and path.name.startswith("environments"))
            )
            for count, form in seconds
        }
    least = float(np.median(seconds[args.counts[0], "files"]))
    rows: list[Row] = [
        {
            "saved in": form,
            "environments": count,
            "CPU seconds": float(np.median(times)),
            f"times that of {args.counts[0]}": float(np.median(times)) / least,
            "MB": sizes[count, form] / 1e6,
        }
        for (count, form), times in seconds.items()
    ]
    show(f"Load {args.model} and choose the first action", rows, args, ["medians; imports are not counted"])


if __name__ == "__main__":
    main()
