"""The kinds of files that the package reads: how each is made, how it is changed, and what reading it gives."""

import hashlib
import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import optuna
import torch
from gymnasium import spaces
from torch.nn.utils import parameters_to_vector

from ldm_hf import LDMAgent, LDMConfig, LDMForActionPrediction, LDMProcessor, OnnxAgent
from ldm_hf.agent import load_model
from ldm_hf.environments.specs import EnvironmentSpec, add_file, fingerprint
from ldm_hf.evaluation.evaluating import _finished
from ldm_hf.evaluation.report import markdown_report
from ldm_hf.evaluation.scores import summarise
from ldm_hf.libraries.openenv_core.adapter import _Fields, _message, _reply
from ldm_hf.onnx.files import GRAPH, SHAPES, export_onnx
from ldm_hf.references.learned.training import open_study, vary
from ldm_hf.references.records import Attempt, Record
from ldm_hf.spaces import space_to_json
from ldm_hf.training.arguments import TrainingRun
from ldm_hf.training.checkpoints import Progress, former_runs, is_complete, read_progress
from ldm_hf.trajectories import EnvironmentInfo, TrajectoryWriter, open_dataset, validate
from ldm_hf.trajectories.mixture import open_mixture
from ldm_hf.trajectories.remote import RemoteTrajectories, index_entries, write_index
from ldm_hf.trajectories.validation import digest

from ..conftest import TINY, random_steps
from ..environments.test_openenv import SCHEMA, VALUES
from . import mutations

OBSERVATION = spaces.Dict(
    {
        "x": spaces.Box(-1, 1, (3,)),
        "image": spaces.Box(0, 255, (5, 5, 3), np.uint8),
        "level": spaces.Discrete(7, start=-3),
        "says": spaces.Text(6, min_length=0, charset="abc "),
    }
)
ACTION = spaces.Dict({"move": spaces.MultiDiscrete([3, 5]), "push": spaces.Box(-2, 2, (2,), np.float64)})
ROWS = """
- name: Thermostat-v0
  env_id: CartPole-v1
  domain: energy
  task: Keep the room at 21 degrees.
  reference: rl
  reference_kwargs: {n_envs: 2, seconds: 30}
- library: gymnasium
  max_episode_steps: 100
  kwargs: {sutton_barto_reward: true}
  rows:
  - {name: Pole-a, env_id: CartPole-v1, episodes: 20}
  - {name: Pole-b, env_id: CartPole-v1, wrappers: [forget_last_action], max_steps: 500}
"""
MIXTURE = """
datasets:
- path: {data}
  weight: 2
  environments: [Toy-*, Point-v0]
  rename: {{Point-v0: Point-logs}}
- {{path: {data}, environments: [Point-v0], min_return_percentile: 20}}
domains: {{custom: 2}}
environments: {{Toy-*: 0.5}}
temperature: 2
max_steps: 100000
max_share: 0.9
"""


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Args:
        make: writes good files into a folder; returns the one to change.
        mutate: changes the bytes of that file.
        read: reads the files as the package does; what it returns is compared.
        strict: nothing but equal results or an error is right, since the format has checksums.
    """

    make: Callable[[Path], Path]
    mutate: Callable[[random.Random, bytes], bytes]
    read: Callable[[Path], object]
    strict: bool = False


def write_data(folder: Path) -> Path:
    for name, pair, lengths in (
        ("Toy-v0", (OBSERVATION, ACTION), (7, 3)),
        ("Point-v0", (spaces.Box(-5, 5, (2,)), spaces.Discrete(3)), (4, 6)),
    ):
        info = EnvironmentInfo(
            name, name, *map(space_to_json, pair), task="go", scores={"random": {"mean": 1.0}}, kwargs={"a": 1}
        )
        with TrajectoryWriter(folder / "data", info) as out:
            for seed, length in enumerate(lengths):
                out.write(random_steps(*pair, length, seed))
    return folder / "data"


def write_model(folder: Path) -> Path:
    torch.manual_seed(0)
    config = LDMConfig(**TINY)
    processor = LDMProcessor.from_config(config)
    moments = {"mean": [0.0, 0.5, 1.0], "std": [1.0, 0.0, 2.0]}
    statistics = {"observation": {"x": moments}, "reward": {"mean": 0.5, "std": 1.5}}
    processor.add_environment("Toy-v0", OBSERVATION, ACTION, statistics, "go")
    LDMForActionPrediction(config).save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return folder / "model"


def act(folder: Path) -> object:
    """The configuration, weights and first actions of a model."""
    model, processor = load_model(folder / "model")
    assert parameters_to_vector(model.parameters()).shape
    actions = []
    for name in processor.environments:
        layout = processor.layout(name)
        pair = layout.observation_space, layout.action_space
        agent = LDMAgent(model, processor, pair, environment=name, seed=0)
        for space in pair:
            space.seed(0)
        observation = pair[0].sample()
        action = agent.act(observation)
        assert pair[1].contains(action), action
        actions.append(repr((name, pair, layout.name, action, agent.act(observation, 1.0, False, False))))
    weights = hashlib.sha256(b"".join(t.numpy().tobytes() for t in model.state_dict().values())).hexdigest()
    return actions, weights, model.config.to_json_string()


@cache
def exported() -> tuple[bytes, bytes]:
    """An exported model's graph and shapes."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = export_onnx(write_model(Path(scratch)), Path(scratch) / "onnx", "Toy-v0")
        return (folder / GRAPH).read_bytes(), (folder / SHAPES).read_bytes()


def write_export(folder: Path) -> Path:
    (folder / "onnx").mkdir()
    for name, content in zip((GRAPH, SHAPES), exported(), strict=True):
        (folder / "onnx" / name).write_bytes(content)
    return folder / "onnx"


def act_by_onnx(folder: Path) -> object:
    """The first actions of an exported model."""
    agent = OnnxAgent.from_pretrained(folder / "onnx")
    pair = agent.layout.observation_space, agent.layout.action_space
    for space in pair:
        space.seed(0)
    observation = pair[0].sample()
    action = agent.act(observation)
    assert pair[1].contains(action), action
    return repr((pair, agent.layout.name, action, agent.act(observation, 1.0, False, False)))


def make_state(folder: Path) -> Path:
    agent = LDMAgent(*load_model(write_model(folder)), (OBSERVATION, ACTION), environment="Toy-v0", seed=0)
    OBSERVATION.seed(0)
    agent.act(OBSERVATION.sample())
    agent.save_state(folder / "state")
    return folder / "state"


def go_on(folder: Path) -> object:
    """The next action of an agent that loads a state."""
    agent = LDMAgent(*load_model(folder / "model"), (OBSERVATION, ACTION), environment="Toy-v0", seed=1)
    agent.load_state(folder / "state")
    OBSERVATION.seed(1)
    return repr(agent.act(OBSERVATION.sample(), 1.0, False, False))


def read_data(folder: Path) -> object:
    found = {}
    for name, stream in open_dataset(folder / "data").items():
        steps = digest(stream.slice(0, stream.num_steps))
        found[name] = repr((steps, stream.info, stream.episode_returns(), stream.statistics()))
    return found, [str(finding) for finding in validate(folder / "data", progress=False)]


def read_steps(folder: Path) -> object:
    """Every value of every step, whatever is beside them."""
    streams = open_dataset(folder / "data")
    return {name: (digest(stream.slice(0, stream.num_steps)), stream.num_episodes) for name, stream in streams.items()}


def make_index(folder: Path) -> Path:
    return write_index(write_data(folder), ["Point-v0", "Toy-v0"])


def read_index(folder: Path) -> object:
    entries = index_entries(folder / "data" / "index.json", "someone/toys")
    streams = [RemoteTrajectories("someone/toys", "0" * 40, *pair) for pair in entries.items()]
    return [repr((s.name, s.info, s.num_steps, s.num_episodes, s.statistics(), s._files)) for s in streams]


def make_mixture(folder: Path) -> Path:
    path = folder / "mixture.yaml"
    path.write_text(MIXTURE.format(data=write_data(folder)).replace("-\n", "-"))
    return path


def read_mixture(folder: Path) -> object:
    streams = open_mixture(folder / "mixture.yaml")
    assert abs(sum(streams.weights.values()) - 1) < 1e-6, streams.weights
    return {name: (stream.num_steps, streams.weights[name]) for name, stream in streams.items()}


def make_rows(folder: Path) -> Path:
    path = folder / "rows.yaml"
    path.write_text(ROWS)
    return path


def read_rows(folder: Path) -> object:
    specs: dict[str, EnvironmentSpec] = {}
    add_file(specs, folder / "rows.yaml")
    return {name: (asdict(spec), fingerprint(spec), spec.facts(), spec.licence) for name, spec in specs.items()}


def make_journal(folder: Path) -> Path:
    study = open_study("Toy-v0", folder / "study.log")
    for score in (1.0, 2.0):
        trial = study.ask()
        configuration = {"algorithm": "ppo", "n_envs": 2, "net_arch": [64, 64], "normalize": True, "gamma": 0.99}
        trial.set_user_attr("configuration", configuration | {"learning_rate": 3e-4})
        trial.report(score, 1)
        trial.set_user_attr("seconds", 1.5)
        study.tell(trial, score)
    return folder / "study.log"


def read_journal(folder: Path) -> object:
    study = open_study("Toy-v0", folder / "study.log")
    trials = [(trial.state, trial.values, trial.user_attrs, trial.intermediate_values) for trial in study.trials]
    if any(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials):
        best = study.best_trial
        vary(
            optuna.trial.FixedTrial(
                {"learning_rate": 1.0, "gamma": 0.99, "n_steps": 64, "ent_coef": 0.0, "gae_lambda": 0.9, "tau": 0.01}
            ),
            best.user_attrs["configuration"],
        )
    return repr(trials)


def make_record(folder: Path) -> Path:
    score = {"mean": 2.0, "ci": 0.5, "episodes": 50, "seed": 1}
    attempt = Attempt("rl", {"a": 1}, "rl", 3.0, score)
    Record("Toy-v0", "row", "toys 1", score, [attempt, Attempt("constant", {}, "heuristic", error="no")]).save(folder)
    return folder / "attempts.json"


def read_record(folder: Path) -> object:
    record = Record.load(folder)
    return repr((record, record.best, record.beats_random, record.tried("rl")))


def make_answers(folder: Path) -> Path:
    path = folder / "answers.json"
    schema = SCHEMA | {"required": ["dice"]}
    action = {"properties": {name: SCHEMA["properties"][name] for name in ("lamp", "dice", "colour", "pair")}}
    reply = {"type": "observation", "data": {"observation": VALUES, "reward": 1.0, "done": False}}
    path.write_text(json.dumps({"observation": schema, "action": action, "reply": reply}))
    return path


def read_answers(folder: Path) -> object:
    told = _message((folder / "answers.json").read_bytes(), "observation", "action", "reply")
    reply = _reply(json.dumps(told["reply"]))
    observations = _Fields("observation", told["observation"], None, reply["observation"])
    member = observations.read(reply["observation"])
    actions = _Fields("action", told["action"], None)
    actions.space.seed(0)
    return repr((observations.space, member, reply["reward"], actions.write(actions.space.sample())))


@cache
def _results() -> dict:
    score = {"mean": 1.0, "std": 0.5, "returns": [0.5, 1.5], "episodes": 2, "seed": 1}
    entry = {"domain": "toys", "random": score, "reference": score | {"mean": 3.0}, "ldm": score, "normalised": 0.0}
    entry |= {"ldm_history_only": score, "normalised_history_only": 0.1}
    environments = {"Toy-v0": entry, "Point-v0": entry}
    return {
        "environments": environments,
        "command": "ldm evaluate",
        "measured": {"model": "x"},
        "versions": {"python": "3"},
        "summary": summarise(environments, intervals=False),
    }


def make_results(folder: Path) -> Path:
    path = folder / "results.json"
    path.write_text(json.dumps(_results()))
    return path


def read_results(folder: Path) -> object:
    names = ["Toy-v0", "Point-v0"]
    done = _finished(folder / "results.json", names, _results()["measured"], _results()["versions"])
    return markdown_report(_results() | {"environments": done, "summary": summarise(done, intervals=False)})


def make_progress(folder: Path) -> Path:
    arguments = {"seed": 0, "max_steps": 10, "max_minutes": None}
    progress = Progress(3, 12, 1.5, {"Toy-v0": 10}, {"Toy-v0": 1.0}, arguments, (0.5, 2))
    path = folder / "progress.json"
    path.write_text(json.dumps(asdict(progress)))
    return path


def read_checkpoint(folder: Path) -> object:
    args = TrainingRun(dataset="data", output_dir=str(folder))
    progress = read_progress(folder, args, {"Toy-v0": 10}, {"Toy-v0": 1.0})
    return repr(progress)


def make_summary(folder: Path) -> Path:
    path = folder / "training.json"
    runs = {"steps": 3, "transitions": 30, "minutes": 0.5, "arguments": {"max_steps": 10, "max_minutes": None}}
    path.write_text(json.dumps(runs | {"former_runs": [runs]}))
    return path


def read_summary(folder: Path) -> object:
    args = TrainingRun(dataset="data", output_dir=str(folder), resume_from_checkpoint="latest")
    return is_complete(args), repr(former_runs(str(folder)))


KINDS = {
    "config": Kind(lambda folder: write_model(folder) / "config.json", mutations.mutate_json, act),
    "processor": Kind(lambda folder: write_model(folder) / "processor_config.json", mutations.mutate_json, act),
    "safetensors": Kind(lambda folder: write_model(folder) / "model.safetensors", mutations.mutate_safetensors, act),
    "known": Kind(lambda folder: write_model(folder) / "environments.jsonl", mutations.mutate_lines, act),
    "statistics": Kind(
        lambda folder: write_model(folder) / "environments.safetensors", mutations.mutate_safetensors, act
    ),
    "graph": Kind(lambda folder: write_export(folder) / GRAPH, mutations.mutate_bytes, act_by_onnx),
    "shapes": Kind(lambda folder: write_export(folder) / SHAPES, mutations.mutate_json, act_by_onnx),
    "state": Kind(make_state, mutations.mutate_safetensors, go_on, strict=True),
    "index": Kind(make_index, mutations.mutate_json, read_index),
    "environment": Kind(
        lambda folder: write_data(folder) / "Toy-v0" / "environment.json", mutations.mutate_json, read_data
    ),
    "parquet": Kind(
        lambda folder: write_data(folder) / "Toy-v0" / "train-00000.parquet",
        mutations.mutate_parquet,
        read_steps,
        strict=True,
    ),
    "table": Kind(
        lambda folder: write_data(folder) / "Toy-v0" / "train-00000.parquet", mutations.mutate_table, read_data
    ),
    "mixture": Kind(make_mixture, mutations.mutate_yaml, read_mixture),
    "catalogue": Kind(make_rows, mutations.mutate_yaml, read_rows),
    "journal": Kind(make_journal, mutations.mutate_lines, read_journal),
    "record": Kind(make_record, mutations.mutate_json, read_record),
    "openenv": Kind(make_answers, mutations.mutate_json, read_answers),
    "results": Kind(make_results, mutations.mutate_json, read_results),
    "progress": Kind(make_progress, mutations.mutate_json, read_checkpoint),
    "summary": Kind(make_summary, mutations.mutate_json, read_summary),
}
