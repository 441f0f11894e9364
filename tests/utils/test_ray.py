"""Collection on a Ray cluster of two nodes, both on this machine."""

import os
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ldm_hf.collection import Plan, collect
from ldm_hf.environments import get_spec
from ldm_hf.errors import EnvironmentFailure, LDMError, MissingExtraError
from ldm_hf.trajectories.writer import shards
from ldm_hf.utils.ray import on_ray

POLE = replace(get_spec("CartPole-v1"), max_episode_steps=40)
LAKE = replace(get_spec("FrozenLake-v1"), episodes=1)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"ldm_hf\[ray\]"):
        on_ray()


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_agent_register_timeout_ms", "240000")  # a busy machine needs a while
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)  # inherited by the workers
        ray = pytest.importorskip("ray", reason='needs: pip install "ldm_hf[ray]"')
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        made.add_node(num_cpus=1)
        yield made
        ray.shutdown()
        made.shutdown()


def rows(folder, name):
    return [row for path in shards(Path(folder) / name) for row in pq.read_table(path).to_pylist()]


def where(spec, plan):
    """The node that a task runs on."""
    import time

    import ray

    time.sleep(1)  # so that no node can do both
    return ray.get_runtime_context().get_node_id()


def die(spec, plan):
    os._exit(3)


@pytest.mark.slow
def test_a_cluster_collects_the_same(cluster, tmp_path):
    here, there = (Plan(str(tmp_path / name), "nowhere", steps=200) for name in ("here", "there"))
    told = []
    untrained = replace(POLE, name="Untrained", reference="rl")
    executor = on_ray(cluster.address)

    def counted(function, tasks, jobs, on_progress):
        return executor(function, tasks, jobs, lambda amount: (told.append(amount), on_progress(amount)))

    failures = collect([POLE, untrained, LAKE], there, jobs=2, progress=False, executor=counted)
    assert list(failures) == ["Untrained"] and isinstance(failures["Untrained"], LDMError)
    collect([POLE, LAKE], here, progress=False)
    for spec in (POLE, LAKE):
        assert rows(here.folder, spec.name) == rows(there.folder, spec.name) != []
    assert 0 < sum(told) <= 400


@pytest.mark.slow
def test_tasks_run_on_both_nodes_and_one_that_dies_is_a_failure_of_its_environment(cluster):
    executor = on_ray(cluster.address)
    nodes = {node for _, node in executor(where, {name: (None, None) for name in "abcd"}, 2)}
    assert len(nodes) == 2
    ((name, failure),) = executor(die, {"Pole": (None, None)}, 1)
    assert name == "Pole" and isinstance(failure, EnvironmentFailure) and "its process" in str(failure)
