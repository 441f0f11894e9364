"""Environments in worker processes: the same as in this process, and no trouble of theirs is ours.

The toys run under this interpreter.
"""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ldm_hf.environments.isolation import IsolatedEnv, IsolatedVectorEnv, Recipe
from ldm_hf.errors import EnvironmentFailure, SpaceMismatchError
from ldm_hf.references.isolated import IsolatedReference

from .. import isolated_toys
from ..isolated_toys import SPACES

ENTRIES = [{"module": "isolated_toys", "register": "register"}]
isolated_toys.register()


@pytest.fixture(autouse=True)
def toys_can_be_imported(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}{os.pathsep}{Path(__file__).parents[1]}")


@pytest.fixture()
def closing():
    """Closes what is given to it when the test is over."""
    opened = []
    yield lambda env: opened.append(env) or env
    for env in opened:
        env.close()


def recipe(env_id="Sampler-v0", render_mode=None, time_limit=60.0, max_episode_steps=None, **kwargs):
    row = {"env_id": env_id, "kwargs": kwargs, "render_mode": render_mode, "max_episode_steps": max_episode_steps}
    return Recipe("Toy", Path(sys.executable), row, ENTRIES, time_limit)


def faulty(fault, time_limit=60.0, **kwargs):
    return recipe("Faulty-v0", time_limit=time_limit, fault=fault, **kwargs)


def identical(left, right) -> bool:
    """The same structure, bit by bit, with the same types; Gymnasium's dictionaries count as such."""
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and list(left) == list(right)
            and all(identical(left[key], right[key]) for key in left)
        )
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(identical, left, right))
    if isinstance(left, np.ndarray) and left.dtype == object:  # what a vector environment makes of tuples in infos
        return identical(left.tolist(), right.tolist())
    if isinstance(left, np.ndarray | np.generic):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    return type(left) is type(right) and left == right


def without_object(info):
    """An info without what cannot be sent."""
    return {
        key: without_object(value) if isinstance(value, dict) else value
        for key, value in info.items()
        if key not in ("object", "_object")
    }


def gone(pid: int) -> bool:
    """Has the process ended within ten seconds?"""
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


# --- the same as in this process -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SPACES)
def test_an_isolated_environment_is_that_of_this_process(kind, closing):
    isolated = closing(IsolatedEnv(recipe(kind=kind)))
    local = gymnasium.make("Sampler-v0", kind=kind, disable_env_checker=True)
    assert isolated.observation_space == local.observation_space and isolated.action_space == local.action_space
    assert isolated.metadata["render_fps"] == 7
    for env in (isolated, local):
        env.action_space.seed(3)
    over = True
    for step in range(40):
        if over:
            seed = 5 if step == 0 else None
            (mine, my_info), (theirs, their_info) = (
                env.reset(seed=seed, options={"size": 2, "ratio": (1, 0.5)}) for env in (isolated, local)
            )
        else:
            (mine, *my_rest, my_info), (theirs, *their_rest, their_info) = (
                env.step(env.action_space.sample()) for env in (isolated, local)
            )
            assert identical([float(my_rest[0]), *my_rest[1:]], [float(their_rest[0]), *their_rest[1:]])
        assert identical(mine, theirs), f"{mine} is not {theirs}"
        assert identical(my_info, without_object(their_info))
        over = not over and (my_rest[1] or my_rest[2])


@pytest.mark.parametrize("kind", SPACES)
def test_an_isolated_vector_is_that_of_this_process(kind, closing):
    isolated = closing(IsolatedVectorEnv(recipe(kind=kind), 3))
    local = SyncVectorEnv(
        [lambda: gymnasium.make("Sampler-v0", kind=kind, disable_env_checker=True)] * 3,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    assert isolated.num_envs == 3 and isolated.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    for name in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(isolated, name) == getattr(local, name)
    for env in (isolated, local):
        env.action_space.seed(3)
    ends = 0
    for seed in (7, [4, None, 6]):
        mine, theirs = (env.reset(seed=seed) for env in (isolated, local))
        for _ in range(25):
            assert identical(mine[0], theirs[0])
            assert all(map(identical, mine[1:-1], theirs[1:-1]))
            assert identical(mine[-1], without_object(theirs[-1]))
            mine, theirs = (env.step(env.action_space.sample()) for env in (isolated, local))
            ends += "final_obs" in mine[-1]
    assert ends > 5


def test_only_the_lanes_of_a_mask_are_reset(closing):
    isolated = closing(IsolatedVectorEnv(recipe(kind="box"), 3))
    before, _ = isolated.reset(seed=0)
    after, infos = isolated.reset(seed=50, options={"reset_mask": np.array([False, True, False]), "size": 3})
    assert (before == after).all(axis=1).tolist() == [True, False, True]
    assert infos["_options"].tolist() == [False, True, False]
    with pytest.raises(ValueError, match="2 seeds for 3 environments"):
        isolated.reset(seed=[1, 2])


def test_observations_are_copies(closing):
    env = closing(IsolatedEnv(recipe(kind="pixels")))
    first, _ = env.reset(seed=0)
    kept = first.copy()
    env.step(env.action_space.sample())
    assert (first == kept).all()


def test_the_time_limit_of_a_row_holds(closing):
    env = closing(IsolatedEnv(recipe("Faulty-v0", max_episode_steps=2)))
    env.reset()
    assert [env.step(0)[3] for _ in range(2)] == [False, True]


def test_pictures_and_texts_are_rendered(closing):
    env = closing(IsolatedEnv(recipe(render_mode="rgb_array")))
    env.reset(seed=0)
    env.step(env.action_space.sample())
    assert env.render_mode == "rgb_array"
    assert identical(env.render(), np.full((4, 5, 3), 1, np.uint8))
    vector = closing(IsolatedVectorEnv(recipe(render_mode="ansi"), 2))
    vector.reset(seed=0)
    assert vector.render() == ("step 0", "step 0")


def test_long_entries_of_an_info_are_left_out(closing):
    env = closing(IsolatedEnv(faulty("")))
    env.reset()
    assert env.step(0)[-1] == {"short": "x"}


@pytest.mark.parametrize("action", [np.zeros(3), 0.5, "left", None, [[0.0], [1.0, 2.0]]])
def test_an_action_that_does_not_fit_is_refused_and_the_environment_goes_on(action, closing):
    env = closing(IsolatedEnv(recipe(kind="discrete")))
    env.reset(seed=0)
    with pytest.raises(SpaceMismatchError, match="Discrete"):
        env.step(action)
    env.step(env.action_space.sample())


def test_a_text_that_is_too_long_is_refused(closing):
    env = closing(IsolatedEnv(recipe(kind="text")))
    env.reset(seed=0)
    with pytest.raises(SpaceMismatchError, match="Text"):
        env.step("abcdef")


# --- trouble -------------------------------------------------------------------------------------------------------

FAULTS = {
    "raises": "ValueError: the plant is on fire",
    "exits": "SystemExit: goodbye",
    "dies": r"its process died: SIGSEGV; its last output: half a li",
    "leaves": "its process died: exit code 7",
    "outside": r"leaf 'x': array\(\[1.5, 1.5\].*outside Box",
    "nan": r"leaf 'x': array\(\[nan, nan\].*outside Box",
    "shape": "leaf 'x': a member of Box.* expected, got array",
    "missing": "leaf 'x' is missing",
    "type": "leaf 'x': a member of Box.* expected, got 'zwei'",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_trouble_is_the_failure_of_that_environment(fault, closing):
    env = closing(IsolatedEnv(faulty(fault)))
    env.reset()
    env.step(0)
    with pytest.raises(EnvironmentFailure, match=rf"environment Toy failed in step: (?s:.*){FAULTS[fault]}"):
        env.step(0)
    with pytest.raises(EnvironmentFailure, match="Toy failed in step"):  # until it is reset
        env.step(0)


def test_a_vector_names_trouble_too(closing):
    envs = closing(IsolatedVectorEnv(faulty("outside"), 2))
    envs.reset()
    envs.step(np.zeros(2, int))
    with pytest.raises(EnvironmentFailure, match=r"environment Toy failed in step: (?s:.*)outside Box"):
        envs.step(np.zeros(2, int))


@pytest.mark.parametrize("fault", ["raises", "exits", "dies", "leaves"])
def test_an_environment_that_cannot_be_made_is_named(fault):
    with pytest.raises(EnvironmentFailure, match=rf"environment Toy failed in make: (?s:.*){FAULTS[fault]}"):
        IsolatedEnv(faulty(fault, at="make"))


def test_a_library_or_interpreter_that_is_not_there_is_named():
    missing = Recipe(
        "Toy", Path(sys.executable), {"env_id": "Sampler-v0", "kwargs": {}}, [{"module": "no_such_module"}]
    )
    with pytest.raises(EnvironmentFailure, match=r"Toy failed in make: ModuleNotFoundError.*no_such_module"):
        IsolatedEnv(missing)
    with pytest.raises(EnvironmentFailure, match=r"Toy failed in make: FileNotFoundError.*nowhere"):
        IsolatedEnv(Recipe("Toy", Path("/nowhere/python"), {"env_id": "Sampler-v0", "kwargs": {}}))


def test_a_hang_ends_with_the_time_limit(closing):
    env = closing(IsolatedEnv(faulty("hangs", time_limit=0.5)))
    env.reset()
    env.step(0)
    started = time.perf_counter()
    with pytest.raises(EnvironmentFailure, match=r"Toy failed in step: no answer within 0.5 s"):
        env.step(0)
    assert time.perf_counter() - started < 10
    env.reset()
    env.step(0)


def test_what_an_environment_prints_disturbs_nothing(closing, capfd):
    env = closing(IsolatedEnv(faulty("prints")))
    env.reset()
    for _ in range(5):
        assert env.step(0)[1] == 1.0
    assert capfd.readouterr() == ("", "")


def test_an_environment_is_restarted_twice(closing):
    env = closing(IsolatedEnv(faulty("dies")))
    for _ in range(3):
        env.reset()
        env.step(0)
        with pytest.raises(EnvironmentFailure, match="SIGSEGV"):
            env.step(0)
    with pytest.raises(EnvironmentFailure, match="Toy failed in reset: it has failed 3 times"):
        env.reset()


def test_a_restart_that_fails_counts(closing):
    env = closing(IsolatedEnv(faulty("dies", at="reset")))
    for _ in range(3):
        with pytest.raises(EnvironmentFailure, match="Toy failed in reset: its process died"):
            env.reset()
    with pytest.raises(EnvironmentFailure, match="it has failed 3 times"):
        env.reset()


# --- in an episode that follows from its seed ------------------------------------------------------------------------


def played(env, seed=3, steps=12):
    """All that an episode returns, with actions that follow from the seed."""
    seen = [env.reset(seed=seed)]
    env.action_space.seed(seed)
    while len(seen) <= steps and not (len(seen) > 1 and (seen[-1][2] or seen[-1][3])):
        seen.append(env.step(env.action_space.sample()))
    return seen


@pytest.mark.parametrize("kind", ["box", "dict", "text"])
@pytest.mark.parametrize("dies_at", [(3,), (3, 3), (1,)])
def test_a_process_that_dies_is_replaced_and_nobody_notices(kind, dies_at, closing, tmp_path):
    env = closing(IsolatedEnv(recipe(kind=kind, dies_at=dies_at, diary=str(tmp_path / "diary"))))
    whole = closing(IsolatedEnv(recipe(kind=kind)))
    seed = next(seed for seed in range(9) if len(played(whole, seed)) > 4)
    first = worker_of(env)
    assert identical(played(env, seed), played(whole, seed))
    assert worker_of(env) != first
    assert identical(played(env, 5), played(whole, 5))


def test_a_process_that_dies_again_and_again_is_given_up(closing, tmp_path):
    env = closing(IsolatedEnv(faulty("dies")))
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(EnvironmentFailure, match="Toy failed in step: its process died: SIGSEGV"):
        env.step(0)
    with pytest.raises(EnvironmentFailure, match="it has failed 3 times"):
        env.reset(seed=0)


def test_a_hang_is_given_up_after_three_time_limits(closing):
    env = closing(IsolatedEnv(faulty("hangs", time_limit=0.3)))
    env.reset(seed=0)
    env.step(0)
    started = time.perf_counter()
    with pytest.raises(EnvironmentFailure, match=r"no answer within 0\.3 s"):
        env.step(0)
    assert 0.9 < time.perf_counter() - started < 30


def test_where_the_same_seed_leads_elsewhere_a_failure_stays_one(closing, tmp_path):
    env = closing(IsolatedEnv(recipe(chance=True, dies_at=(3,), diary=str(tmp_path / "diary"))))
    with pytest.raises(EnvironmentFailure, match=r"did not lead there again|failed in step"):
        for seed in range(9):
            played(env, seed)


def test_nothing_is_started_again_after_close():
    env = IsolatedEnv(recipe())
    env.reset(seed=0)
    env.close()
    with pytest.raises(EnvironmentFailure):
        env.step(env.action_space.sample())


# --- references in the worker ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies_at", [(), (4,)])
def test_a_reference_looks_into_the_environment_of_its_process(dies_at, closing, tmp_path):
    env = closing(IsolatedEnv(recipe(dies_at=dies_at, diary=str(tmp_path / "diary"))))
    plain = closing(IsolatedEnv(recipe()))
    seed = next(seed for seed in range(9) if len(played(plain, seed)) > 6)
    reference = IsolatedReference(isolated_toys.Insider, {"factor": 0.5})
    assert reference.method == "scripted"
    observation, info = env.reset(seed=seed)
    expected, _ = plain.reset(seed=seed)
    reference.reset(env)
    for step in range(6):
        assert identical(observation, expected)
        label = reference.act(env, observation, info)
        np.testing.assert_allclose(label, [0.5 * step / 10, max(0, step - 2) / 10], rtol=1e-6)
        action = label
        if step >= 2:
            action = np.array([-1, 1], np.float32)
            reference.executed(action)
        observation, *_, info = env.step(action)
        expected, *_ = plain.step(action)


def test_a_reference_acts_where_a_process_may_have_one_environment(closing):
    env = closing(IsolatedEnv(recipe("Lonely-v0")))
    reference = IsolatedReference(isolated_toys.Rewarded, {})
    observation, info = env.reset(seed=3)
    reference.reset(env)
    for _ in range(9):
        observation, reward, _, truncated, info = env.step(reference.act(env, observation, info))
        assert reward == 1
    assert truncated


# --- ends ----------------------------------------------------------------------------------------------------------


def worker_of(env) -> int:
    return env._worker.process._process.pid


def test_close_ends_the_process_and_may_be_called_twice():
    for env in (IsolatedEnv(recipe()), IsolatedVectorEnv(recipe(), 2)):
        pid = worker_of(env)
        env.close()
        env.close()
        assert not Path(f"/proc/{pid}").exists()


def test_an_environment_that_is_forgotten_leaves_no_process():
    env = IsolatedEnv(recipe())
    pid = worker_of(env)
    del env
    gc.collect()
    assert gone(pid)


def test_an_interrupt_ends_the_call_and_a_reset_goes_on(closing):
    env = closing(IsolatedEnv(faulty("hangs")))
    env.reset()
    env.step(0)
    pid = worker_of(env)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            env.step(0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not Path(f"/proc/{pid}").exists()
    assert env.reset()[0]["x"].tolist() == [0, 0]


PARENT = """
    import sys
    from pathlib import Path
    from ldm_hf.environments.isolation import IsolatedEnv, Recipe

    row = {"env_id": "Faulty-v0", "kwargs": {"fault": sys.argv[1], "pid_file": sys.argv[2]}}
    modules = [{"module": "isolated_toys", "register": "register"}]
    env = IsolatedEnv(Recipe("Toy", Path(sys.executable), row, modules, 1))
    env.reset()
    env.step(0)
    print(env._worker.process._process.pid, flush=True)
    if sys.argv[1]:
        env._worker.process.time_limit = 600
        env._worker.process._connection.send_bytes(b'{"call": "step", "limit": -8, "arguments": {"autoreset": false}}')
    sys.stdin.read()
"""


@pytest.mark.parametrize("fault", ["", "hangs"])
def test_no_process_is_left_when_the_parent_is_killed(fault, tmp_path):
    root, toys = Path(__file__).parents[2], Path(__file__).parents[1]
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), fault, str(tmp_path / "pid")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{toys}"},
    )
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    assert gone(worker)


def test_what_a_library_has_started_ends_with_its_worker(tmp_path, closing):
    pid_file = tmp_path / "pid"
    env = closing(IsolatedEnv(faulty("starts a server", time_limit=1, pid_file=str(pid_file))))
    env.reset()
    env.step(0)
    with pytest.raises(EnvironmentFailure, match="no answer"):
        env.step(0)
    assert gone(int(pid_file.read_text()))


def test_without_a_file_in_memory_a_temporary_one_is_shared(closing, monkeypatch):
    expected = closing(IsolatedEnv(recipe())).reset(seed=3)
    monkeypatch.delattr(os, "memfd_create")  # macOS has none
    assert identical(closing(IsolatedEnv(recipe())).reset(seed=3), expected)
