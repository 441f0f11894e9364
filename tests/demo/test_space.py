"""The folder of the Space is complete: what it says of itself, and what it needs."""

import re
import runpy
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "spaces/ldm"


def names(requirements):
    return {re.split(r"[\[<>=; ]", line)[0].lower() for line in requirements if line[:1] not in ("-", "#", "")}


def test_the_header_names_the_app():
    header = yaml.safe_load((SPACE / "README.md").read_text().split("---")[1])
    assert header["sdk"] == "gradio" and (SPACE / header["app_file"]).exists()
    assert int(header["sdk_version"].split(".")[0]) >= 6
    assert len(header["short_description"]) <= 60


def test_the_requirements_are_those_of_the_package(monkeypatch):
    given = {}
    monkeypatch.setattr("setuptools.setup", lambda **arguments: given.update(arguments))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    needed = names(given["install_requires"]) | names(given["extras_require"]["demo"]) - {"gradio"}  # the Space has it
    found = (SPACE / "requirements.txt").read_text().splitlines()
    assert needed <= names(found)
    known = {line for group in given["extras_require"].values() for line in names(group)}
    assert names(found) <= needed | known


def test_the_app_can_be_imported_by_the_visitors_processes(monkeypatch):
    monkeypatch.setitem(sys.modules, "ldm_hf.demo.page", type(sys)("page"))
    monkeypatch.setattr(sys.modules["ldm_hf.demo.page"], "serve", None, raising=False)
    loaded = runpy.run_path(str(SPACE / "app.py"), run_name="__mp_main__")
    assert loaded["folder_of"](str(SPACE)) == str(SPACE)
