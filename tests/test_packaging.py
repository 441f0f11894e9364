"""What is installed from a built wheel is whole: it plays without this folder."""

import os
import re
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import ldm_hf

ROOT = Path(__file__).parents[1]
SMOKE = Path(__file__).with_name("smoke.py")


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
    told = run(sys.executable, SMOKE, ROOT / "model_cards/ldm-nano", cwd=tmp_path, env=environment)
    assert told.startswith(f"ldm_hf {ldm_hf.__version__} on Python ")
    assert wheel.name == f"ldm_hf-{ldm_hf.__version__}-py3-none-any.whl"


def test_the_version_is_told_in_one_voice():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {ldm_hf.__version__}\n" in citation
    newest = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    assert newest.startswith(f"{ldm_hf.__version__} ")


def test_the_image_for_serving_has_versions_that_the_package_takes():
    text = (ROOT / "Dockerfile").read_text()
    pins = dict(re.findall(r"\b([\w-]+)==([\w.]+)", text))
    wanted = [Requirement(line) for line in metadata.requires("ldm_hf")]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": "serve"})]
    checked = [one.name for one in wanted if one.name in pins and one.specifier.contains(pins[one.name])]
    assert sorted(checked) == sorted(pins)
    for source in re.findall(r"^COPY (.+) \S+$", text, re.M):
        assert all((ROOT / name).exists() for name in source.split())
