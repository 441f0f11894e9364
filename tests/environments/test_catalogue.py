"""The table of environments: what its rows promise, how its files are read and generated."""

import ast
import json
import re
import shutil
import time
from collections import Counter
from importlib import metadata

import pytest
import yaml

from ldm_hf.environments import catalogue, get_spec, installed_version
from ldm_hf.environments.checking import WORKS, check_environment
from ldm_hf.environments.generating import generate_rows
from ldm_hf.environments.isolation import is_isolated
from ldm_hf.environments.library_folders import ROOT, additions, folder_of, libraries, measured, read_library
from ldm_hf.environments.specs import expand, select, split
from ldm_hf.environments.wrappers import WRAPPERS
from ldm_hf.errors import UnknownEnvironmentError
from ldm_hf.references import method_of
from ldm_hf.references.loading import known_policies
from ldm_hf.utils.files import YamlLoader

DOMAINS = {
    "control",
    "cybersecurity",
    "driving",
    "energy",
    "grid_world",
    "inventory",
    "locomotion",
    "memory",
    "puzzles",
    "robotics",
    "toy_text",
    "trading",
    "video_games",
}
LDM_V0 = ("robotics", "driving", "inventory", "cybersecurity", "trading", "energy", "video_games")
SLOW = ("highway-env", "dm-control", "metaworld", "ogbench", "gymnasium-robotics")


def package_of(library: str) -> str:
    return libraries()[library].package or library


# --- the rows --------------------------------------------------------------------------------------------------------


def test_every_row_is_complete():
    wrappers = {*WRAPPERS, *additions()["wrappers"]}
    for name, spec in catalogue().items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name), f"{name} names a folder and a config of a dataset"
        assert spec.name == name and spec.env_id
        assert spec.library in libraries() and spec.licence, name
        assert spec.domain in DOMAINS, name
        assert spec.task.endswith(".") and 10 < len(spec.task) < 160, name
        assert spec.reference in (None, "rl", *known_policies()), name
        assert set(spec.wrappers) <= wrappers, name
        assert method_of(spec) in ("none", "tabular", "scripted", "heuristic", "planner", "rl"), name


def test_names_are_unique_and_no_row_is_lost():
    written = [row["name"] for library in libraries().values() for row in expand(library.rows)]
    assert len(set(written)) == len(written)
    assert sorted(written) == sorted(catalogue())


def test_no_two_rows_are_the_same_environment():
    same = Counter(
        json.dumps([spec.env_id, spec.kwargs, spec.wrappers, spec.name.endswith("-short")], sort_keys=True)
        for spec in catalogue().values()
    )
    assert [row for row, count in same.items() if count > 1] == []


def test_there_are_a_thousand_environments_of_many_libraries_and_domains():
    rows = catalogue().values()
    counts = Counter(spec.domain for spec in rows)
    assert len(rows) >= 1000
    assert len({spec.library for spec in rows}) >= 25
    assert set(counts) == DOMAINS
    assert all(counts[domain] >= 5 for domain in LDM_V0)


def test_every_row_has_the_spaces_that_were_found():
    assert sorted(measured()["spaces"]) == sorted(catalogue())
    assert get_spec("CartPole-v1").expected_spaces == ("Box(4)", "Discrete(2)")


def test_licences_are_those_that_the_libraries_state():
    for library, told in libraries().items():
        if is_isolated(library) or not installed_version(library):
            continue
        stated = metadata.metadata(package_of(library))
        texts = [stated.get("License-Expression"), stated.get("License"), *(stated.get_all("Classifier") or [])]
        texts += [file.read_text() for file in metadata.files(package_of(library)) or [] if file.name == "LICENSE"]
        assert any(told.licence in text for text in texts if text), library


def test_what_the_extra_envs_installs_is_installed():
    expected = [name for name, told in libraries().items() if told.extra == "envs" and not is_isolated(name)]
    assert [name for name in expected if not installed_version(name)] == []


def test_the_table_loads_about_as_fast_as_its_files_are_read():
    """By CPU time in turns, so that neither another machine nor others on it matter."""

    def load():
        catalogue.cache_clear()
        libraries.cache_clear()
        catalogue()

    def read():
        for path in ROOT.glob("*/rows.yaml"):
            yaml.load(path.read_text(encoding="utf-8"), YamlLoader)

    seconds = {load: [], read: []}
    for work in (load, read) * 3:
        started = time.process_time()
        work()
        seconds[work].append(time.process_time() - started)
    assert min(seconds[load]) < 3 * min(seconds[read])  # 1.6 times as long when this was written


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(min(names, key=len), marks=[pytest.mark.slow] if library in SLOW else [], id=library)
        for library in libraries()
        if (names := [spec.name for spec in catalogue().values() if spec.library == library])
    ],
)
def test_one_environment_of_each_library_works(name):
    if not installed_version(get_spec(name).library):
        pytest.skip(f"{get_spec(name).library} is not installed")
    found = check_environment(get_spec(name))
    assert found["verdict"] == WORKS, found


# --- files and groups ------------------------------------------------------------------------------------------------


def test_rows_inherit_what_their_group_says():
    entries = """
        - {name: alone, env_id: CartPole-v1}
        - library: gymnasium
          kwargs: {a: 1, b: 2}
          reference: rl
          rows:
          - {name: first, kwargs: {b: 3}}
          - {name: second, library: mine, reference: null}
        """
    assert expand(yaml.safe_load(entries)) == [
        {"name": "alone", "env_id": "CartPole-v1"},
        {"library": "gymnasium", "kwargs": {"a": 1, "b": 3}, "reference": "rl", "name": "first"},
        {"library": "mine", "kwargs": {"a": 1, "b": 2}, "reference": None, "name": "second"},
    ]


# --- folders of libraries --------------------------------------------------------------------------------------------


def test_what_a_folder_requires_is_what_setup_installs():
    """A build of the package cannot read YAML, so that `setup.py` says again what the folders ask for."""
    tree = ast.parse((ROOT.parents[1] / "setup.py").read_text())
    table = next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "extras")
    extras = ast.literal_eval(table)
    for library, told in libraries().items():
        assert bool(told.requires) != is_isolated(library), library
        assert set(told.requires) <= set(extras[told.extra]), library
    asked = {requirement for told in libraries().values() for requirement in told.requires}
    unasked = {*extras["envs"], *extras["envs-extra"]} - asked
    assert {re.split("[>=<]", requirement)[0] for requirement in unasked} == {"uv"}  # makes the isolated ones


def test_a_folder_holds_nothing_but_what_a_library_may_have():
    files = {"rows", "measured", "public", "requirements"}
    allowed = files | {"__init__", "adapter", "environment", "tables", "policies"}
    for path in ROOT.glob("*/*.*"):
        assert path.stem in allowed or path.match("policies_*.py"), path
    for library in libraries():
        text = (folder_of(library) / "__init__.py").read_text()
        assert len(text.splitlines()) == 1 and text.startswith('"""'), "workers import it without what others need"


def test_nobody_outside_imports_a_librarys_folder():
    package = ROOT.parent
    for path in package.rglob("*.py"):
        if ROOT not in path.parents:
            assert not re.search(r"^\s*(from|import) \S*libraries\.\w", path.read_text(), re.MULTILINE), path


# --- generators ------------------------------------------------------------------------------------------------------


@pytest.fixture()
def copied(tmp_path):
    """Copies the ``rows.yaml`` of a library into a folder of its own."""

    def copy(library):
        folder = tmp_path / folder_of(library).name
        folder.mkdir()
        shutil.copy(folder_of(library) / "rows.yaml", folder)
        return folder / "rows.yaml"

    return copy


@pytest.mark.parametrize("library", ["minigrid", "popgym", "MinAtar", "ale-py"])
def test_generators_add_nothing_to_their_own_rows(library, copied):
    path = copied(library)
    before = path.read_text()
    assert generate_rows(library, path.parents[1])[1] == 0
    assert path.read_text() == before


def test_generating_again_keeps_what_was_edited(copied):
    path = copied("popgym")
    told = yaml.safe_load(path.read_text())
    group = told["rows"][-1]["rows"]
    group[0]["task"] = "Edited by hand."
    lost = group.pop()
    path.write_text(yaml.safe_dump(told))
    _, added, total = generate_rows("popgym", path.parents[1])
    assert (added, total) == (1, len(expand(libraries()["popgym"].rows)))
    rows = {row["name"]: row for row in expand(read_library(path).rows)}
    assert rows[group[0]["name"]]["task"] == "Edited by hand."
    assert rows[lost["name"]]["task"] == lost["task"]


def test_an_unknown_generator_tells_the_known_ones(tmp_path):
    with pytest.raises(UnknownEnvironmentError, match=r"no rows are generated for 'chess'.*minigrid"):
        generate_rows("chess", tmp_path)


def test_environments_held_out_stay_so_while_the_catalogue_grows():
    rows = select(None)
    train, held_out = split(rows, "lbforaging", 0.1, seed=0, kept={"CartPole-v1", "Foraging-8x8-2p-1f-v3"})
    assert sorted(row.name for row in train + held_out) == sorted(row.name for row in rows)
    foraging = {row.name for row in rows if row.library == "lbforaging"}
    assert {row.name for row in train} & foraging == {"Foraging-8x8-2p-1f-v3"}
    others = len(rows) - len(foraging)
    assert 0.07 * others < len(held_out) - len(foraging) + 1 < 0.13 * others
    fewer = {row.name for row in split(rows[::2], "lbforaging", 0.1, 0, {"CartPole-v1"})[1]}
    assert fewer <= {row.name for row in held_out} | {"Foraging-8x8-2p-1f-v3"}
    assert {row.name for row in split(rows, None, 0.1, seed=1)[1]} != {row.name for row in held_out}
