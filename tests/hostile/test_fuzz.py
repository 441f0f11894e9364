"""Mutated files of every kind that the package reads; see `fuzz` for what is right."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = (555, 565)  # number 560 of a shard once ended the process, in pyarrow
MANY = 1000  # mutations of each kind


def fuzz(*options):
    """In a process of its own, since memory is limited and the Hub is out of reach."""
    command = [sys.executable, "-m", "tests.hostile.fuzz", *map(str, options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_sample_of_mutated_files():
    first, last = SAMPLE
    result = fuzz("--first", first, "--count", last)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    assert result.stdout.count("0 findings") >= 15


@pytest.mark.soak
def test_ten_thousand_mutated_files():
    output = ROOT / "outputs" / "fuzz.json"  # continued if the run is interrupted
    output.parent.mkdir(exist_ok=True)
    result = fuzz("--count", MANY, "--output", output)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
