"""All commands on a Ray cluster of two nodes, both on this machine."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ldm_hf import LDMConfig, LDMForActionPrediction, LDMProcessor
from ldm_hf.cli.options import Where, executor_of
from ldm_hf.collection import Plan, collect
from ldm_hf.environments import get_spec, make
from ldm_hf.errors import LDMError, MissingExtraError
from ldm_hf.evaluation import EvaluationOptions, evaluate
from ldm_hf.references.finding import find_references
from ldm_hf.references.records import Record
from ldm_hf.suites import evaluate_suite, tables
from ldm_hf.trajectories.writer import shards
from ldm_hf.utils.ray import TRIES, on_ray

from ..conftest import TINY
from .cluster_tasks import die, end_lane, hang, store

POLE = replace(get_spec("CartPole-v1"), max_episode_steps=40)
LAKE = replace(get_spec("FrozenLake-v1"), episodes=1)
MISSING = 'needs: pip install "ldm_hf[ray]"'
SUITE = """
title: A pole
source: nowhere
about: Made up.
episodes: 3
others: {}
groups:
- domain: poles
  changes: {max_episode_steps: 10}
  tasks:
    CartPole-v1: {random: 5, expert: 15, others: {}}
"""
DRIVER = """
from dataclasses import replace
from ldm_hf.collection import Plan, collect
from ldm_hf.utils.ray import on_ray
from tests.utils.test_ray import LAKE, POLE

if __name__ == "__main__":
    plan = Plan({folder!r}, "nowhere", steps=10**9)
    collect([replace(POLE, max_steps=200), LAKE], plan, progress=False, executor=on_ray({address!r}))
"""


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"ldm_hf\[ray\]"):
        executor_of(Where.RAY, None)


def test_an_address_is_for_a_cluster():
    with pytest.raises(LDMError, match="--address goes with --executor ray"):
        executor_of(Where.LOCAL, "auto")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "auto", "nonsense", "ray://127.0.0.1:10001"])
def test_where_there_is_no_cluster_one_message_says_so(address):
    pytest.importorskip("ray", reason=MISSING)
    with pytest.raises(LDMError, match="host:port"):
        executor_of(Where.RAY, address)


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_agent_register_timeout_ms", "240000")  # a busy machine needs a while
        patch.setenv("RAY_worker_niceness", "0")  # Ray's own is 15: the tests would wait for whatever else runs
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)  # inherited by the workers
        ray = pytest.importorskip("ray", reason=MISSING)
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        made.add_node(num_cpus=1)
        yield made
        ray.shutdown()
        made.shutdown()


def rows(folder, name):
    return [row for path in shards(Path(folder) / name) for row in pq.read_table(path).to_pylist()]


def same(found):
    """Results without what differs between two runs."""
    if isinstance(found, dict):
        return {key: same(value) for key, value in found.items() if key not in ("seconds", "command")}
    return [same(value) for value in found] if isinstance(found, list) else found


@pytest.mark.slow
def test_a_cluster_collects_the_same(cluster, tmp_path):
    here, there = (Plan(str(tmp_path / name), "nowhere", steps=200) for name in ("here", "there"))
    told = []
    untrained = replace(POLE, name="Untrained", reference="rl")
    executor = on_ray(cluster.address)

    def counted(function, tasks, jobs, on_progress, **options):
        return executor(function, tasks, jobs, lambda amount: (told.append(amount), on_progress(amount)), **options)

    half = replace(there, steps=100)
    assert collect([POLE], half, progress=False) == {}  # it goes on with what is here
    failures = collect([POLE, untrained, LAKE], there, jobs=2, progress=False, executor=counted)
    assert list(failures) == ["Untrained"] and isinstance(failures["Untrained"], LDMError)
    collect([POLE], replace(half, folder=here.folder), progress=False)
    collect([POLE, LAKE], here, progress=False)
    for spec in (POLE, LAKE):
        assert rows(here.folder, spec.name) == rows(there.folder, spec.name) != []
    assert 0 < sum(told) <= 400


@pytest.mark.slow
def test_a_cluster_finds_the_same_references(cluster, tmp_path):
    executor, found = on_ray(cluster.address), []
    options = {"budget": 600.0, "limit": 600.0, "on_record": found.append}
    assert find_references([POLE], tmp_path / "there", executor=executor, **options) == {}
    assert find_references([POLE], tmp_path / "here", **options) == {}
    here, there = (
        [
            (attempt.reference, attempt.kwargs, attempt.score)
            for attempt in Record.load(tmp_path / place / POLE.name).attempts
        ]
        for place in ("here", "there")
    )
    assert here == there
    assert found[0].random == found[1].random and found[0].finished and found[0].beats_random


@pytest.mark.slow
def test_a_cluster_evaluates_the_same(cluster, tmp_path, monkeypatch):
    executor = on_ray(cluster.address)
    processor = LDMProcessor.from_config(config := LDMConfig(**TINY))
    with make(POLE) as env:
        processor.add_environment(POLE.name, env.observation_space, env.action_space, task="Balance the pole.")
    LDMForActionPrediction(config).save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    options = EvaluationOptions(episodes=2, num_envs=2)
    places = {"references_folder": tmp_path, "progress": False}
    here, there = (
        evaluate(tmp_path / "model", ["CartPole-v1"], options, executor=run, **places)
        for run in (executor_of(Where.LOCAL, None), executor)
    )
    assert same(here) == same(there) and "failures" not in there and there["environments"]
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    (tmp_path / "mine.yaml").write_text(SUITE)
    results = evaluate_suite("mine", tmp_path / "r.json", tmp_path / "model", executor=executor, **places)
    assert 8 <= results["tasks"]["CartPole-v1"]["score"] <= 10 and "error" not in results["tasks"]["CartPole-v1"]


@pytest.mark.slow
def test_a_node_that_dies_gives_its_tasks_to_others_and_no_folder_is_shared(cluster, tmp_path):
    names = [f"Pole-{number}" for number in range(5)]
    for name in names:
        (tmp_path / "own" / name).mkdir(parents=True)
        (tmp_path / "own" / name / "before").write_text(name)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "text").write_text(" is upright")
    doomed = cluster.add_node(num_cpus=1)
    raylet = doomed.all_processes["raylet"][0].process.pid
    told = []

    def kill(amount):
        told.append(amount)
        if sum(told) == 3 and doomed in cluster.worker_nodes:
            cluster.remove_node(doomed, allow_graceful=False)

    tasks = {name: (3,) for name in names}
    folders = {"own": {"folder": str(tmp_path / "own")}, "shared": {"text": str(tmp_path / "shared")}}
    work = partial(store, driver=str(tmp_path / "own"))
    found = dict(on_ray(cluster.address)(work, tasks, 3, kill, **folders))
    assert sorted(found) == names and sum(told) == len(names) < len(told)  # what was lost was done again
    nodes = {node for node, _ in found.values()}
    assert raylet not in nodes and len(nodes) == 2
    for name in names:
        assert (tmp_path / "own" / name / "after").read_text() == f"{name} is upright"
        assert not found[name][1].startswith(str(tmp_path)) and not Path(found[name][1]).exists()


@pytest.mark.slow
def test_what_ends_or_stops_a_process_fails_alone(cluster):
    executor = on_ray(cluster.address)
    found = dict(executor(die, {"Pole": ()}))
    assert "environment Pole failed in its process: it ended with exit code 3" in str(found["Pole"])
    found = dict(executor(hang, {"Silent": ()}, silence=1.0))
    assert "Silent" in str(found["Silent"]) and "nothing done in 1 s" in str(found["Silent"])
    found = dict(executor(hang, {"Slow": ()}, limit=0.5))
    assert "Slow" in str(found["Slow"]) and "no result after 0.5 s" in str(found["Slow"])


@pytest.mark.slow
def test_a_task_that_ends_its_machine_is_not_begun_for_ever(cluster):
    found = dict(on_ray(cluster.address)(end_lane, {"Bomb": ()}))
    assert f"environment Bomb failed in its machine, {TRIES} times" in str(found["Bomb"])


@pytest.mark.slow
def test_the_same_command_goes_on_after_its_process_was_killed(cluster, tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(folder=str(tmp_path / "data"), address=cluster.address))
    driver = subprocess.Popen([sys.executable, str(script)])
    limit = time.monotonic() + 240
    while not (done := shards(tmp_path / "data" / POLE.name)):
        assert time.monotonic() < limit and driver.poll() is None
        time.sleep(0.1)
    driver.kill()
    driver.wait()
    before = [path.stat().st_mtime_ns for path in done]
    begun = []
    executor = on_ray(cluster.address)

    def counted(function, tasks, *arguments, **options):
        begun.extend(tasks)
        return executor(function, tasks, *arguments, **options)

    plan = Plan(str(tmp_path / "data"), "nowhere", steps=200)
    assert collect([POLE, LAKE], plan, progress=False, executor=counted) == {}
    assert begun == [LAKE.name] and [path.stat().st_mtime_ns for path in shards(done[0].parent)] == before
    assert len(rows(plan.folder, LAKE.name)) > 0
