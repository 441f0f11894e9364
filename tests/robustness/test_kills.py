"""Whatever point a command is killed at, the same command finishes its work, with the results of an uninterrupted run.

Each command runs in a child that ends by SIGKILL before its n-th change of a file, or in the middle of a write.
"""

import json
import shutil
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from gymnasium import spaces

from ldm_hf import LDMProcessor
from ldm_hf.collection import Plan, collect, journal
from ldm_hf.collection.journal import FILE
from ldm_hf.environments import make
from ldm_hf.evaluation import EvaluationOptions, Target, evaluate
from ldm_hf.hub import export_model
from ldm_hf.importers import Source, import_trajectories
from ldm_hf.references.finding import find_references
from ldm_hf.references.loading import known_policies
from ldm_hf.trajectories import open_dataset, validate, writer
from ldm_hf.trajectories.writer import shards

from ..runs import log_of, train, weights_of, write_dataset, write_model
from .killing import in_child
from .misbehaving import Rule, row

KILLED, TORN = -signal.SIGKILL, -signal.SIGXFSZ
known_policies()  # imports what no child is to import again
SPECS = [row("First"), row("Second")]


class Log(Source):
    """Thirty episodes of logged decisions."""

    observation_space, action_space = spaces.Box(-1, 1, (3,)), spaces.Discrete(3)
    num_episodes = 30

    def __init__(self):
        self.description, self.origin = {"name": "Log"}, {}

    def episodes(self, start=0):
        for number in range(start, self.num_episodes):
            rng, length = np.random.default_rng(number), 5 + number % 4
            yield {
                "observation": rng.uniform(-1, 1, (length, 3)).astype(np.float32),
                "action": rng.integers(0, 3, length),
                "reward": rng.normal(size=length).astype(np.float32),
                "terminated": np.arange(length) == length - 1,
                "truncated": np.zeros(length, bool),
            }


def episodes(folder):
    """Everything that was recorded, by environment; the dataset has to be in order."""
    assert not [finding for finding in validate(folder, progress=False) if finding.level == "error"]
    assert set(open_dataset(folder)) == {path.parent.name for path in folder.glob("*/environment.json")}
    assert not list(folder.glob(f"*/{FILE}"))
    return {
        path.parent.name: [line for shard in shards(path.parent) for line in pq.read_table(shard).to_pylist()]
        for path in folder.glob("*/environment.json")
    }


def call(command, out):
    """Calls a command that writes small shards and waits for nobody long."""
    writer.SHARD_STEPS, journal.POLL_SECONDS = 60, 0.05
    torch.set_num_threads(1)
    command(out)


def find(name, references_folder):
    return Target(name, "control", "Do it.", partial(make, row(name)), Rule)


class Commands:
    """The commands, each a pair: what it does in a folder, and what its results there are.

    Args:
        folder: folder with a model ``model``, one to train, ``start``, and its dataset ``data``.
    """

    def __init__(self, folder):
        self.folder = folder

    def collect(self, out):
        assert collect(SPECS, Plan(str(out), str(out / "none"), steps=150), progress=False) == {}

    def collect_results(self, out):
        return episodes(out), (out / "README.md").read_text().replace(str(out), "here")

    def reference(self, out):
        assert find_references(SPECS, out, budget=1.0) == {}

    def reference_results(self, out):
        records = {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/attempts.json")}
        for record in records.values():
            del record["seconds"]
            for attempt in record["attempts"]:
                del attempt["seconds"]
        return records

    def importing(self, out):
        import_trajectories(Log(), out, progress=False)

    def importing_results(self, out):
        return episodes(out)

    def evaluate(self, out):
        options = EvaluationOptions(episodes=1, num_envs=1)
        names, output = ["First", "Second"], out / "results.json"
        found = evaluate(self.folder / "model", names, options, output=output, find=find, command="", progress=False)
        assert "failures" not in found

    def evaluate_results(self, out):
        return json.loads((out / "results.json").read_text())

    def export(self, out):
        export_model(self.folder / "model", out / "repo")

    def export_results(self, out):
        # a writer that was killed leaves its temporary file, ours or safetensors'
        kept = [path for path in (out / "repo").iterdir() if not path.name.startswith((".unfinished-", ".tmp"))]
        return {path.name: path.read_bytes() for path in kept}

    def checkpoint(self, out):
        train(self.folder, out / "run", "--resume_from_checkpoint", "latest", "--checkpointing_steps", 1)

    def checkpoint_results(self, out):
        log = [{name: value for name, value in line.items() if name != "elapsed"} for line in log_of(out / "run")]
        return {name: weight.tolist() for name, weight in weights_of(out / "run").items()}, log


NAMES = ("collect", "reference", "importing", "evaluate", "export", "checkpoint")
SIZES = {  # bytes of a file at which the process is ended in the middle of a write
    "collect": (0, 100, 1000, 3000),
    "reference": (0, 300, 1000),
    "importing": (0, 100, 1000, 3000),
    "evaluate": (0, 500, 2000),
    "export": (0, 1000, 20_000, 100_000),
    "checkpoint": (0, 1000, 50_000, 200_000),
}


@pytest.fixture(scope="module")
def prepared(tiny, tmp_path_factory):
    folder, env = tmp_path_factory.mktemp("prepared"), make(SPECS[0])
    processor = LDMProcessor.from_config(tiny[0].config)
    for spec in SPECS:
        processor.add_environment(spec.name, env.observation_space, env.action_space, task="Do it.")
    tiny[0].save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    write_dataset(folder / "data")
    write_model(folder / "start")
    return Commands(folder)


@pytest.fixture(scope="module")
def whole(prepared):
    """Results of a command that nothing interrupts, and the number of its points."""
    found = {}

    def of(name):
        if name not in found:
            out = prepared.folder / "whole" / name / "out"
            out.mkdir(parents=True)
            code, told = in_child(partial(call, getattr(prepared, name), out), out)
            assert code == 0, told
            found[name] = getattr(prepared, f"{name}_results")(out), int(told)
        return found[name]

    return of


def check(prepared, whole, name, tmp_path, **kill):
    """Kills a command once and runs it again; returns whether it was killed."""
    expected, _ = whole(name)
    out = tmp_path / "out"
    out.mkdir()
    command = partial(call, getattr(prepared, name), out)
    code, _ = in_child(command, out, **kill)
    again, told = in_child(command, out)
    assert again == 0, f"{name}, {kill}: {told}"
    assert getattr(prepared, f"{name}_results")(out) == expected, (name, kill)
    shutil.rmtree(out)
    return code in (KILLED, TORN)


COUNTS = {"collect": 8, "reference": 3, "importing": 6, "evaluate": 3, "export": 4, "checkpoint": 2}


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_command_goes_on(name, prepared, whole, tmp_path):
    """At points spread over the command; all of them are in the test below."""
    _, count = whole(name)
    stops = sorted({round(stop) for stop in np.linspace(0, count - 1, COUNTS[name])})
    killed = [check(prepared, whole, name, tmp_path, stop=stop) for stop in stops]
    # how often a file is changed depends on the time, so that the last points may lie behind the end
    assert sum(killed) > 0.7 * COUNTS[name] and len(killed) == COUNTS[name]


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_a_command_that_is_killed_anywhere_goes_on(name, prepared, whole, tmp_path):
    _, count = whole(name)
    killed = [check(prepared, whole, name, tmp_path, stop=stop) for stop in range(count)]
    torn = [check(prepared, whole, name, tmp_path, size=size) for size in SIZES[name]]
    assert all(killed)
    print(f"{name}: {len(killed)} points, {sum(torn)} of {len(torn)} in the middle of a write")


@pytest.mark.parametrize("name", NAMES)
def test_a_command_goes_on_after_its_disk_was_full(name, prepared, whole, tmp_path):
    check(prepared, whole, name, tmp_path, size=SIZES[name][1], full=True)


def test_kills_lose_no_finished_episode(prepared, whole, tmp_path):
    """What the journal held is in a shard as soon as somebody continues, whatever the point."""
    for stop in range(0, whole("collect")[1], 3):
        out = tmp_path / str(stop)
        out.mkdir()
        in_child(partial(call, prepared.collect, out), out, stop=stop)
        before = [path.stat().st_size for path in out.glob(f"*/{FILE}")]
        in_child(partial(call, prepared.collect, out), out)
        assert episodes(out) == whole("collect")[0][0]
        assert not list(Path(out).glob(f"*/{FILE}")), before
