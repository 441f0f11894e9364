"""Shared fixtures: a tiny model, and quiet, single-threaded torch."""

from multiprocessing import util

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from ldm_hf import LDMConfig, LDMForActionPrediction, LDMProcessor
from ldm_hf.environments import catalogue, library_folders
from ldm_hf.spaces import stack
from ldm_hf.utils.files import environments_folder

from . import fork_server
from .toys import ACTION, OBSERVATION, STATISTICS

settings.register_profile(
    "ldm", deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, max_examples=40
)
settings.load_profile("ldm")
torch.set_num_threads(1)
INSTALLED = environments_folder()  # virtual environments of isolated libraries take too long to make for a test

TINY = {
    "backbone_config": {
        "model_type": "qwen3",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "use_sliding_window": True,
        "sliding_window": 8,
        "max_window_layers": 0,
        "vocab_size": 1,
        "initializer_range": 0.2,
    },
    "num_choices": 21,
    "bag_buckets": 256,
    "element_buckets": 64,
    "grid_buckets": 512,
    "grid_channels": 8,
    "grid_embedding": 4,
    "image_size": 28,
    "image_channels": [4, 4],
    "max_numeric": 16,
    "max_action_numeric": 4,
    "initializer_range": 0.2,  # large weights make small mistakes visible
}


def pytest_configure(config):
    """Processes of a run with several workers share one server to be forked from."""
    if getattr(config.option, "numprocesses", None):
        fork_server.shared_server()
    fork_server.fork_what_is_spawned()


def pytest_collection_modifyitems(config, items):
    """Leaves out what takes hours, unless it is asked for."""
    if "soak" not in config.option.markexpr:
        soaking = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=soaking)
        items[:] = [item for item in items if item not in soaking]


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    """No test reads or writes the cache or the catalogue of whoever runs it."""
    monkeypatch.setenv("LDM_HF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LDM_HF_ENVIRONMENTS", str(INSTALLED))
    monkeypatch.delenv("LDM_HF_CATALOGUE", raising=False)


@pytest.fixture()
def real_starts(monkeypatch):
    """Processes start as users' do: they import what they need, and read of the environment what imports read."""
    monkeypatch.setattr(util, "spawnv_passfds", fork_server.spawn)


@pytest.fixture()
def recorded(monkeypatch, tmp_path):
    """A folder of Gymnasium's in which nothing is recorded yet, in place of those of the package."""
    catalogue()
    root = tmp_path / "libraries"
    (root / "gymnasium").mkdir(parents=True)
    monkeypatch.setattr(library_folders, "ROOT", root)
    library_folders.measured.cache_clear()
    yield root
    library_folders.measured.cache_clear()


@pytest.fixture()
def config() -> LDMConfig:
    """Made anew for each test: a Trainer, for one, changes the configuration of its model."""
    return LDMConfig(**TINY)


@pytest.fixture(scope="module")
def tiny():
    """Model and processor; not made anew for each example of a property."""
    torch.manual_seed(0)
    config = LDMConfig(**TINY)
    return LDMForActionPrediction(config).eval(), LDMProcessor.from_config(config)


@pytest.fixture()
def model(config: LDMConfig) -> LDMForActionPrediction:
    torch.manual_seed(0)
    return LDMForActionPrediction(config).eval()


@pytest.fixture()
def processor(config: LDMConfig) -> LDMProcessor:
    return LDMProcessor.from_config(config)


def random_steps(observation_space, action_space, count: int, seed: int = 0) -> dict:
    """Random consecutive steps, laid out as the trajectory reader gives them."""
    observation_space.seed(seed)
    action_space.seed(seed)
    rng = np.random.default_rng(seed)
    actions = stack(action_space, [action_space.sample() for _ in range(count)])
    return {
        "observation": stack(observation_space, [observation_space.sample() for _ in range(count)]),
        "action": actions,
        "label": actions,
        "reward": rng.normal(size=count).astype(np.float32),
        "terminated": rng.random(count) < 0.1,
        "truncated": rng.random(count) < 0.1,
    }


@pytest.fixture()
def knowing(tiny):
    """Model and a processor that knows the toy."""
    processor = LDMProcessor.from_config(tiny[0].config)
    processor.add_environment("Toy-v0", OBSERVATION, ACTION, STATISTICS, "push it")
    return tiny[0], processor


def encode_observations(encoder, parts):
    """Observations ``{path: (N, *shape)}`` whose numbers are not standardised."""
    numbers = encoder.numbers(parts, len(next(iter(parts.values()))))
    return encoder.encode(parts, numbers, numbers)
