"""The same work in a pool of processes: nobody outlives the one who asked for it."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from ldm_hf.errors import EnvironmentFailure, MissingExtraError, NotInstalledError
from ldm_hf.utils.parallel import report, run_tasks

PARENT = """
import time
from ldm_hf.utils.parallel import run_tasks
from tests.utils.test_parallel import write_id_and_sleep

if __name__ == "__main__":
    list(run_tasks(write_id_and_sleep, {name: (f"{folder}/{name}",) for name in ("a", "b")}, jobs=2))
"""


def write_id_and_sleep(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)


def alive(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path, end):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.replace("{folder}", str(tmp_path)))
    parent = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": os.getcwd()})
    marks = [tmp_path / name for name in ("a", "b")]
    limit = time.monotonic() + 120
    while not all(mark.exists() and mark.read_text() for mark in marks):
        assert time.monotonic() < limit and parent.poll() is None
        time.sleep(0.1)
    workers = [int(mark.read_text()) for mark in marks]
    assert all(map(alive, workers))
    parent.send_signal(end)
    parent.wait()
    while any(map(alive, workers)):
        assert time.monotonic() < limit
        time.sleep(0.1)


def count_then_hang(seconds):
    report(1)
    time.sleep(seconds)
    return seconds


@pytest.mark.slow
def test_who_stops_listening_leaves_no_process_behind():
    outcomes = run_tasks(count_then_hang, {"works": (0.0,), "hangs": (600,)}, jobs=2, silence=600.0)
    assert next(outcomes) == ("works", 0.0)
    workers = multiprocessing.active_children()
    outcomes.close()
    for worker in workers:
        worker.join(timeout=60)
        assert not worker.is_alive()


@pytest.mark.slow
def test_a_silent_task_is_ended_and_the_others_go_on():
    told = []
    tasks = {"hangs": (600,), "rests": (0.1,), "works": (0.0,)}
    outcomes = dict(run_tasks(count_then_hang, tasks, jobs=2, on_progress=told.append, silence=1.0))
    assert outcomes["rests"] == 0.1 and outcomes["works"] == 0.0
    assert isinstance(outcomes["hangs"], EnvironmentFailure)
    assert "hangs" in str(outcomes["hangs"]) and "nothing done in 1 s" in str(outcomes["hangs"])
    assert sum(told) == 3


def fail_with(error):
    raise error


@pytest.mark.slow
def test_errors_come_back_from_a_process_as_they_were():
    errors = {
        "lacks": MissingExtraError("mo-gymnasium", extra="envs-extra"),
        "isolated": NotInstalledError("jumanji"),
        "breaks": EnvironmentFailure("breaks", "step", ValueError("too far")),
    }
    outcomes = dict(run_tasks(fail_with, {name: (error,) for name, error in errors.items()}, jobs=2))
    assert [(type(outcomes[name]), str(outcomes[name])) for name in errors] == [
        (type(e), str(e)) for e in errors.values()
    ]
    assert outcomes["breaks"].name == "breaks"
