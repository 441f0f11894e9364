"""What macOS and Windows lack or count otherwise, faked: neither was at hand."""

import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ldm_hf.training.dry_run import peak_memory

ROOT = Path(__file__).parents[2]
WITHOUT_POSIX = """
import os, signal, sys
import multiprocessing.util, psutil, pyarrow.dataset, subprocess, tempfile, torch, transformers
from transformers import AutoProcessor, PreTrainedModel  # know by themselves which platform this is

sys.path[:0] = [sys.argv[1]]
sys.modules.update(dict.fromkeys(("fcntl", "resource")))
for name in ("register_at_fork", "fork", "killpg", "setpgid", "sched_getaffinity"):
    delattr(os, name)
for name in ("alarm", "setitimer", "SIGALRM", "ITIMER_REAL"):
    delattr(signal, name)

from ldm_hf import OnnxAgent, RemoteAgent
from ldm_hf.serving import server
from ldm_hf.trajectories import reader
from ldm_hf.utils.parallel import run_tasks
from tests.smoke import play

if __name__ == "__main__":
    print(play(sys.argv[2]), *run_tasks(abs, {"one": (-1,), "other": ("x",)}, limit=300))
"""


@pytest.mark.slow
def test_a_model_plays_where_names_of_posix_are_missing(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(WITHOUT_POSIX)
    command = [sys.executable, str(script), str(ROOT), str(ROOT / "model_cards/ldm-nano")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.startswith("500.0 ") and "('one', 1)" in result.stdout and "TypeError" in result.stdout


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_memory_is_counted_in_the_units_of_the_platform(monkeypatch, platform, unit):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=7))
    assert peak_memory() == 7 * unit
