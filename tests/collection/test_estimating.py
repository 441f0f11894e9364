"""What a collection will take is told before it begins."""

from dataclasses import replace
from pathlib import Path

import pytest

from ldm_hf.collection import Plan, collect
from ldm_hf.collection.collecting import collect_environment
from ldm_hf.collection.estimating import EPISODE, estimate_environment
from ldm_hf.environments import get_spec
from ldm_hf.errors import CheckpointError, DatasetError
from ldm_hf.trajectories.writer import shards

POLE = get_spec("CartPole-v1")


@pytest.fixture()
def plan(tmp_path) -> Plan:
    return Plan(str(tmp_path / "data"), str(tmp_path / "references"), steps=6_000)


@pytest.mark.parametrize("name", ["CartPole-v1", "FrozenLake-v1"])
def test_disk_is_estimated_rather_too_much_than_too_little(name, plan):
    estimate = estimate_environment(get_spec(name), plan)
    assert not Path(plan.folder).exists()  # nothing is left of it
    collect([get_spec(name)], plan, progress=False)
    size = sum(path.stat().st_size for path in shards(Path(plan.folder) / name))
    assert size / 2 < estimate.bytes < 4 * size  # short files compress less
    assert estimate.steps == 6_000 and estimate.steps_per_second > 100
    assert 0 < estimate.seconds < 600


def test_what_is_there_is_not_counted(plan):
    collect_environment(POLE, replace(plan, steps=1_000))
    estimate = estimate_environment(POLE, plan)
    assert 4_000 < estimate.steps <= 5_000
    assert estimate.scored == 0  # the scores are there, too
    assert estimate_environment(POLE, replace(plan, steps=1_000)).seconds == 0


def test_scores_are_counted(plan):
    long = replace(POLE, max_episode_steps=400)  # longer than what is played here
    assert estimate_environment(long, plan).scored == 2 * 20 * 400
    short = replace(POLE, max_episode_steps=EPISODE // 2, episodes=40)
    assert 1_600 < estimate_environment(short, plan).scored <= 2 * 40 * EPISODE // 2  # some fall earlier


def test_slow_environments_are_not_played_for_long(plan, monkeypatch):
    monkeypatch.setattr("ldm_hf.collection.estimating.SECONDS", 0.0)
    assert estimate_environment(POLE, plan).steps_per_second > 0


def test_what_cannot_be_collected_cannot_be_estimated(plan):
    with pytest.raises(CheckpointError, match="ldm reference"):
        estimate_environment(replace(POLE, reference="rl"), plan)
    collect_environment(POLE, replace(plan, steps=100))
    (shard,) = shards(Path(plan.folder) / POLE.name)
    shard.write_bytes(b"half")
    with pytest.raises(DatasetError, match="is damaged"):
        estimate_environment(POLE, plan)
