"""How threads wait is set before torch is imported, how many there are when work begins; the user's word counts."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from ldm_hf.training import TrainingRun, make_accelerator
from ldm_hf.utils import threads
from ldm_hf.utils.parallel import run_tasks, share_cores
from ldm_hf.utils.threads import WAITING, fair_threads, own_threads

ROOT = Path(__file__).parents[2]
# stands in for torch: tells what is set when it is imported
SPY = """
import os
print({name: os.environ[name] for name in %r if name in os.environ}, flush=True)
os._exit(0)
"""
IMPORT = ["-c", "import ldm_hf, torch"]
COMMANDS = {
    "import": IMPORT,
    "ldm": ["-c", "from ldm_hf.cli.app import main; main()", "evaluate", "--model", "nowhere"],
}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SHORTER = {"GOMP_SPINCOUNT": "100000"}


def seen_by_torch(command, folder, **user):
    (folder / "torch.py").write_text(SPY % (WAITING,))
    kept = {name: value for name, value in os.environ.items() if name not in WAITING}
    environment = kept | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])} | user
    result = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout.strip()


@pytest.mark.parametrize("name", COMMANDS)
def test_how_to_wait_is_set_before_torch_is_imported(name, tmp_path):
    assert seen_by_torch(COMMANDS[name], tmp_path) == str(SHORTER)


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_scripts_set_it_before_they_import_torch(path, tmp_path):
    told = seen_by_torch([str(path), "--help"], tmp_path)
    assert told == str(SHORTER) or told.lower().startswith("usage")  # it helps without torch


@pytest.mark.parametrize("user", [{"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}, {"KMP_BLOCKTIME": "3"}])
def test_what_the_user_has_set_wins(user, tmp_path):
    assert seen_by_torch(IMPORT, tmp_path, **user) == str(user)


def waiting(name):
    return os.environ.get(name)


@pytest.mark.slow
def test_worker_processes_inherit_it(monkeypatch, real_starts):
    monkeypatch.setenv("GOMP_SPINCOUNT", "123")
    assert dict(run_tasks(waiting, {"a": ("GOMP_SPINCOUNT",), "b": ("GOMP_SPINCOUNT",)}, jobs=2)) == {
        "a": "123",
        "b": "123",
    }


@pytest.fixture()
def machine(monkeypatch):
    """So many cores, of which others use so many percent."""
    before = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "LOCAL_RANK", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)

    def make(*used):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(len(used))), raising=False)
        monkeypatch.setattr(psutil, "cpu_percent", lambda seconds, percpu: [*used, 100.0])  # and one that is not ours
        torch.set_num_threads(len(used))

    yield make
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("used", "threads"),
    [
        ((0, 0), 2),
        ((20, 15), 2),
        ((100, 0), 1),
        ((100, 100), 1),
        ((50,), 1),
        ([100] * 4 + [0] * 12, 13),
        ([100] * 16, 8),
    ],
)
def test_threads_are_the_share_of_the_cores(machine, used, threads):
    machine(*used)
    assert fair_threads() == threads
    share_cores()
    assert torch.get_num_threads() == threads


def test_processes_that_share_the_work_divide_all_cores(machine):
    machine(100, 100, 100, 100, 100)
    assert [fair_threads(processes) for processes in (2, 5, 9)] == [2, 1, 1]


def test_work_in_this_process_begins_with_its_share(machine):
    machine(100, 100)
    assert dict(run_tasks(torch.get_num_threads, {"a": ()})) == {"a": 1}


@pytest.mark.parametrize(("launcher", "own"), [(None, 3), ("LOCAL_RANK", None), ("ACCELERATE_MIXED_PRECISION", None)])
def test_the_users_number_of_threads_wins_unless_a_launcher_may_have_set_it(machine, monkeypatch, launcher, own):
    machine(100, 100)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    if launcher:
        monkeypatch.setenv(launcher, "0")
    assert own_threads() == own
    share_cores()
    assert torch.get_num_threads() == (2 if own else 1)


@pytest.mark.parametrize(("options", "user", "expected"), [({"cpu_threads": 2}, "3", 2), ({}, "3", 3), ({}, None, 1)])
def test_training_has_its_share(machine, monkeypatch, tmp_path, options, user, expected):
    machine(100, 100)
    if user:
        monkeypatch.setenv("OMP_NUM_THREADS", user)
    make_accelerator(TrainingRun(dataset="none", output_dir=str(tmp_path), **options))
    assert torch.get_num_threads() == expected


def test_a_real_measurement():
    assert 1 <= fair_threads() <= (os.cpu_count() or 1)
    assert threads.SAMPLE_SECONDS <= 0.2
