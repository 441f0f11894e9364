"""transformers' own common tests, from the source that its authors released: none that applies to LDM fails."""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
import transformers

from ldm_hf.utils.files import cache_folder

ROOT = Path(__file__).parents[2]
VERSION = transformers.__version__
SOURCE = cache_folder() / f"transformers-{VERSION}"  # of whoever runs the tests; fetched once
# What these tests import and the released source lacks: tests of text generation, of exporters, of other services.
MISSING = {
    "transformers_tests/__init__.py": "",
    "transformers_tests/generation/__init__.py": "",
    "transformers_tests/generation/test_utils.py": "class GenerationTesterMixin: ...\n",
    "transformers_tests/exporters/__init__.py": "",
    "transformers_tests/exporters/test_export.py": "class ExportTesterMixin: ...\n",
    "transformers_tests/utils/__init__.py": "",
    "transformers_tests/utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
    "fetch_hub_objects_for_ci.py": "url_to_local_path = str\n",
}


def fetch() -> None:
    """Puts the tests of the installed transformers into ``SOURCE / "transformers_tests"``."""
    SOURCE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SOURCE.parent) as scratch:
        wanted = ["--no-deps", "--no-build-isolation", "--no-binary", "transformers", f"transformers=={VERSION}"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", *wanted, "--dest", scratch]
        if subprocess.run(command, capture_output=True, timeout=300).returncode:
            pytest.skip(f"the source of transformers {VERSION} cannot be downloaded")
        with tarfile.open(next(Path(scratch).glob("*.tar.gz"))) as archive:
            tests = [member for member in archive if member.name.split("/")[1:2] == ["tests"]]
            archive.extractall(scratch, tests, filter="data")
        made = Path(scratch) / "made"
        made.mkdir()
        next(Path(scratch).glob("*/tests")).rename(made / "transformers_tests")
        for name, text in MISSING.items():
            (made / name).parent.mkdir(exist_ok=True)
            (made / name).write_text(text)
        made.rename(SOURCE)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each test came to: ``{class.test: [(tag, message)]}``, an empty list if it passed without a word."""
    if not SOURCE.exists():
        fetch()
    report = tmp_path_factory.mktemp("report") / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:warnings", "-c", os.devnull, "--rootdir", str(ROOT)]
    subprocess.run(
        [sys.executable, "-m", "pytest", *options, "tests/model/common_ldm.py", f"--junitxml={report}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (SOURCE, ROOT))), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        timeout=900,
    )
    return {
        f"{case.get('classname').rsplit('.')[-1]}.{case.get('name')}": [
            (part.tag, part.get("message")) for part in case
        ]
        for case in ElementTree.parse(report).iter("testcase")
    }


@pytest.mark.slow
def test_none_fails_that_applies(outcomes):
    """docs/results/common-tests.md lists those that cannot run, and why."""
    failed = {name: told for name, told in outcomes.items() if any(tag != "skipped" for tag, _ in told)}
    assert failed == {}
    ran = [name for name, told in outcomes.items() if not told]
    for part, least in (("LDMModelTest", 90), ("LDMProcessorTest", 9)):
        assert sum(name.startswith(part) for name in ran) >= least
