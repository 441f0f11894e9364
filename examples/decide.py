#!/usr/bin/env python
"""Lets a model decide at a plant: every hour one row of the log comes in, one action goes out.

    python examples/decide.py --model outputs/plant-ldm --dataset outputs/logs --environment Pumpwerk-v0 \\
        --log live.csv --state outputs/plant-state

Reads the rows of the log that have come since the last call, proposes an action for each, and ends; call it whenever a
row was appended. What the agents remember is in the folder of the state, so that a call goes on where the last one
ended, wherever that was interrupted. The row before is expected to be complete: its reward is the feedback, and its
action is what the operators did, whether or not it was proposed.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

from ldm_hf import LDMAgent
from ldm_hf.agent import load_model
from ldm_hf.importers import RowReader
from ldm_hf.trajectories import open_dataset


def main() -> None:
    """Decides."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="outputs/plant-ldm", help="folder or Hub id of the model")
    parser.add_argument("--dataset", default="outputs/logs", help="dataset that the log was imported into")
    parser.add_argument("--environment", default="Pumpwerk-v0", help="name of the import")
    parser.add_argument("--log", type=Path, required=True, help="CSV file that grows by a row at a time")
    parser.add_argument("--state", type=Path, default=Path("outputs/plant-state"), help="folder of what is remembered")
    args = parser.parse_args()

    stream = open_dataset(args.dataset)[args.environment]
    columns = stream.info.collection["columns"]
    by_entity: dict[str, list[dict[str, str]]] = defaultdict(list)
    with args.log.open(encoding=columns.get("encoding", "utf-8"), newline="") as file:
        for row in csv.DictReader(file, delimiter=columns.get("separator", ",")):
            by_entity[" ".join(row[name] for name in columns.get("entity", []))].append(row)

    model, processor = load_model(args.model)
    for entity, rows in by_entity.items():
        agent = LDMAgent(
            model, processor, (stream.observation_space, stream.action_space), environment=args.environment
        )
        reader = RowReader(stream.info)  # one for each, since empty cells may mean the previous cell
        # A file says by its name how many rows it knows: the file of the next row replaces it.
        folder = args.state / (entity or "all")
        known = max((int(path.stem) for path in folder.glob("*.safetensors")), default=0)
        if known:
            agent.load_state(folder / f"{known}.safetensors")
        for number, row in enumerate(rows):
            observation = reader.observation(row)
            if number < known:
                continue
            feedback = ()
            if number:
                feedback = (reader.reward(rows[number - 1]), False, False)
                agent.executed(reader.action(rows[number - 1]))
            cells = reader.cells(agent.act(observation, *feedback))
            time = " ".join(row[name] for name in columns.get("time", []))
            print(" ".join([time, entity, *(f"{column}={cell}" for column, cell in cells.items())]), flush=True)
            agent.save_state(folder / f"{number + 1}.safetensors")
            for path in folder.glob("*.safetensors"):
                if int(path.stem) <= number:
                    path.unlink()


if __name__ == "__main__":
    main()
