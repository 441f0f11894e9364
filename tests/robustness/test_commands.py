"""The command `ldm` itself: no environment ends it, whatever the number of jobs, without a home, or twice at once."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ldm_hf.trajectories.writer import shards

from .. import fork_server
from .killing import in_child
from .misbehaving import LENGTH
from .test_kills import call, episodes, prepared, whole  # noqa: F401  # fixtures

MAIN = "from ldm_hf.cli import main; main()"


def ldm(folder, *arguments, run=fork_server.run, **settings):
    """Runs the command in a process of its own, with a catalogue of misbehaving environments."""
    misbehaving = "tests.robustness.misbehaving"
    rows = [
        {
            "name": name,
            "env_id": f"{misbehaving}:Misbehaving-v0",
            "domain": "control",
            "kwargs": {"how": how, "seed": 4},
            "reference": f"{misbehaving}:Rule",
        }
        for name, how in (("Dies", "segfaults"), ("Exits", "exits"), ("Good", ""))
    ]
    (folder / "own.yaml").write_text(json.dumps(rows))
    environment = os.environ | {"LDM_HF_CATALOGUE": str(folder / "own.yaml"), "PYTHONPATH": os.getcwd()} | settings
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    return run(command, cwd=os.getcwd(), env=environment, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_collect_survives_a_crash_with_any_number_of_jobs(jobs, tmp_path):
    arguments = ("collect", "--ids", "Dies,Exits,Good", "--steps-per-env", 120, "--output", tmp_path / "data")
    result = ldm(tmp_path, *arguments, "--jobs", jobs)
    told = " ".join(result.stdout.split())
    assert result.returncode == 1, result.stderr
    assert "failed: environment Dies failed in its process (episode of seed 4): it was ended by SIGSEGV" in told
    assert "failed: environment Exits failed in step (episode of seed 4): SystemExit: 0" in told
    counts = {
        name: sum(pq.read_metadata(path).num_rows for path in shards(tmp_path / "data" / name))
        for name in ("Dies", "Exits", "Good")
    }
    assert counts == {"Dies": 4, "Exits": 4, "Good": -(-120 // LENGTH)}


@pytest.mark.slow
def test_a_command_needs_no_home(tmp_path):
    arguments = ("collect", "--ids", "Good", "--steps-per-env", 50, "--jobs", 1, "--output", tmp_path / "data")
    start = partial(subprocess.run, capture_output=True, text=True)  # imports look for a home, too
    result = ldm(tmp_path, *arguments, run=start, HOME="/proc/nowhere", LDM_HF_CACHE="/proc/nowhere/cache")
    assert result.returncode == 0, result.stderr
    assert shards(tmp_path / "data" / "Good")


def test_two_commands_on_one_folder_write_each_episode_once(prepared, whole, tmp_path):  # noqa: F811
    expected, _ = whole("collect")
    out = tmp_path / "out"
    out.mkdir()
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda _: in_child(partial(call, prepared.collect, out), out), range(2)))
    assert [code for code, _ in ended] == [0, 0], ended
    assert episodes(Path(out)) == expected[0]
