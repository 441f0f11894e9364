"""What is installed from a built wheel is whole: it plays without this folder."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLAY = """
import sys
from pathlib import Path
import ldm_hf
from ldm_hf import LDMAgent
from ldm_hf.environments import catalogue, make
from ldm_hf.references import reference_scores

assert Path(ldm_hf.__file__).is_relative_to(sys.argv[1]), ldm_hf.__file__
assert len(catalogue()) > 1000 and len(reference_scores()) > 1000
env = make("CartPole-v1")
agent = LDMAgent.from_pretrained(sys.argv[2], env)
(observation, info), feedback, total, over = env.reset(seed=0), (), 0.0, False
while not over:
    observation, *feedback, info = env.step(agent.act(observation, *feedback, info=info))
    total, over = total + feedback[0], feedback[1] or feedback[2]
print(total)
"""


def run(*command, **options):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600, **options)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.slow
def test_a_wheel_built_from_the_source_distribution_plays_elsewhere(tmp_path):
    build = "import setuptools.build_meta as backend, sys; backend.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, tmp_path, cwd=ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "elsewhere"
    run(*pip, "install", "--no-deps", "--target", installed, wheel)
    environment = os.environ | {"PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    played = run(sys.executable, "-c", PLAY, installed, ROOT / "model_cards/ldm-nano", cwd=tmp_path, env=environment)
    assert float(played.split()[-1]) == 500
