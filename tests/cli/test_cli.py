"""The command ``ldm``: what it prints, what it writes, and how it fails."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import imageio.v3 as imageio
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from ldm_hf import LDMConfig, LDMForActionPrediction
from ldm_hf.cli import app as cli
from ldm_hf.cli import collect as cli_collect
from ldm_hf.environments import catalogue
from ldm_hf.errors import LDMError, MissingExtraError, UnknownEnvironmentError
from ldm_hf.evaluation.pictures import CAPTION
from ldm_hf.evaluation.playing import play, play_grid
from ldm_hf.training import processor_for
from ldm_hf.trajectories import open_dataset

from .. import fork_server
from ..conftest import TINY

MAIN = "from ldm_hf.cli import main; main()"


@pytest.fixture(autouse=True)
def own_directory(own_folders, monkeypatch, tmp_path):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.chdir(tmp_path)  # defaults are relative to the working directory


def ldm(*arguments: str):
    """Runs the command in this process. An error of ours is ``result.exception``; `main` makes a line of it."""
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """What `ldm collect` printed, and the folder of its dataset."""
    folder = tmp_path_factory.mktemp("collected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LDM_HF_CACHE", str(folder / "cache"))
        arguments = ("--ids", "FrozenLake-v1", "--steps-per-env", "300", "--jobs", "1", "--output", folder / "data")
        result = ldm("collect", *arguments)
    return result, folder / "data"


@pytest.fixture(scope="module")
def model(collected):
    """The folder of an untrained model that knows the dataset's environment."""
    folder = collected[1].parent / "model"
    torch.manual_seed(0)
    config = LDMConfig(**TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LDM_HF_CACHE", str(collected[1].parent / "cache"))
        processor_for(config, open_dataset(collected[1])).save_pretrained(folder)
    LDMForActionPrediction(config).save_pretrained(folder)
    return folder


# --- import ----------------------------------------------------------------------------------------------------------


def test_neither_torch_nor_transformers_is_imported_before_it_is_needed():
    code = (
        "import sys, ldm_hf, ldm_hf.cli\n"
        "ldm_hf.cli.app.app(['envs', 'list'], standalone_mode=False)\n"
        "assert {'torch', 'transformers'}.isdisjoint(sys.modules), 'imported'\n"
        "ldm_hf.LDMConfig\n"
        "assert 'transformers' in sys.modules"
    )
    result = python(code)
    assert result.returncode == 0, result.stderr


def test_public_names_are_listed_and_others_refused():
    import ldm_hf

    assert set(ldm_hf.__all__) <= set(dir(ldm_hf))
    with pytest.raises(AttributeError, match="no attribute 'LDMAgency'"):
        ldm_hf.LDMAgency  # noqa: B018


# --- envs ------------------------------------------------------------------------------------------------------------


def test_the_catalogue_is_printed_as_json():
    result = fork_server.run([sys.executable, "-c", MAIN, "envs", "list", "--json"])
    assert (result.returncode, result.stderr) == (0, "")
    entries = json.loads(result.stdout)
    assert [entry["name"] for entry in entries] == list(catalogue())
    for entry in entries:
        assert {"name", "env_id", "kwargs", "library", "domain", "reference"} <= set(entry)
        assert isinstance(entry["kwargs"], dict)
    lake = next(entry for entry in entries if entry["name"] == "FrozenLake-v1")
    assert (lake["env_id"], lake["library"], lake["domain"], lake["reference"]) == (
        "FrozenLake-v1",
        "gymnasium",
        "toy_text",
        "tabular",
    )


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (("--domain", "toy_text"), lambda row: row.domain == "toy_text"),
        (("--library", "minigrid"), lambda row: row.library == "minigrid"),
        (
            ("--domain", "robotics", "--library", "gymnasium"),
            lambda row: (row.domain, row.library) == ("robotics", "gymnasium"),
        ),
    ],
)
def test_filters_choose_rows(arguments, chosen):
    names = [entry["name"] for entry in json.loads(ldm("envs", "list", "--json", *arguments).stdout)]
    assert names == [name for name, row in catalogue().items() if chosen(row)]
    assert 0 < len(names) < len(catalogue())


def test_the_catalogue_is_shown_as_a_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = ldm("envs", "list", "--domain", "toy_text").stdout
    for expected in ("environments", "FrozenLake-v1", "toy_text", "MIT", "tabular"):
        assert expected in text
    assert "CartPole-v1" not in text


def test_a_filter_that_fits_nothing_is_an_error():
    result = ldm("envs", "list", "--domain", "chess")
    assert result.exit_code == 1 and isinstance(result.exception, UnknownEnvironmentError)
    assert "domain chess" in str(result.exception) and result.stdout == ""


# --- errors ----------------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_one_line_without_a_trace(tmp_path):
    arguments = ("collect", "--ids", "CartPole-v7", "--output", tmp_path / "data")
    result = fork_server.run([sys.executable, "-c", MAIN, *arguments])
    assert result.returncode == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: no environment 'CartPole-v7'")
    assert "CartPole-v1" in lines[0] and "Traceback" not in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("collect", "--ids", "FrozenLake-v1,CartPole-v7"), "no environment 'CartPole-v7'"),
        (("reference", "--ids", "CartPole-v7"), "no environment 'CartPole-v7'"),
        (("reference",), "no environment: choose by --ids, --domain or --library, or say --all"),
        (("reference", "--ids", "CartPole-v1", "--budget", "long"), "--budget 'long' is no time"),
        (("evaluate", "--model", "no/such/model"), "no usable LDM at no/such/model"),
        (
            ("play", "--model", "no/such/model", "--env", "CartPole-v1", "--video", "a.gif"),
            "no usable LDM at no/such/model",
        ),
        (("play", "--model", "no/such/model", "--env", "CartPole-v7"), "no environment 'CartPole-v7'"),
        (("play", "--model", "no/such/model", "--env", "BaseStock-v0"), "BaseStock-v0 has no picture"),
    ],
)
def test_errors_that_a_user_can_cure_become_one_message(monkeypatch, arguments, message):
    monkeypatch.setattr(sys, "argv", ["ldm", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert str(caught.value.code).startswith(f"error: {message}")
    assert not list(Path.cwd().iterdir())


def test_an_error_of_ours_keeps_its_trace():
    def mistake():
        raise ValueError("a mistake in the code")

    with pytest.raises(ValueError, match="a mistake"):
        cli.run(mistake)


@pytest.mark.parametrize(("option", "value"), [("--steps-per-env", "0"), ("--jobs", "0")])
def test_numbers_are_checked(option, value):
    result = ldm("collect", "--ids", "FrozenLake-v1", option, value)
    assert result.exit_code == 2 and option in result.stderr


# --- reference -------------------------------------------------------------------------------------------------------


def test_a_reference_is_found_measured_and_told(tmp_path, recorded):
    report = tmp_path / "told" / "report.md"
    arguments = (
        "reference",
        "--ids",
        "FrozenLake-v1",
        "--budget",
        "5s",
        "--jobs",
        "1",
        "--references",
        tmp_path / "found",
    )
    result = ldm(*arguments, "--save", "--report", report)
    assert result.exit_code == 0, result.stdout
    assert "FrozenLake-v1: tabular" in result.stdout and "better than random" in " ".join(result.stdout.split())
    told = json.loads((recorded / "gymnasium" / "measured.json").read_text())["scores"]["FrozenLake-v1"]
    assert told["policy"] == "value_iteration" and told["beats_random"] and told["episodes"] >= 50
    assert "| FrozenLake-v1 |" in report.read_text()
    before = (tmp_path / "found/FrozenLake-v1/attempts.json").read_bytes()
    assert ldm(*arguments).exit_code == 0
    assert (tmp_path / "found/FrozenLake-v1/attempts.json").read_bytes() == before  # not done again


# --- collect ---------------------------------------------------------------------------------------------------------


def test_collect_writes_a_dataset(collected, monkeypatch):
    result, folder = collected
    assert result.exit_code == 0
    assert "1 environments in" in result.stdout.replace("\n", " ")
    assert {path.name for path in folder.iterdir()} == {"README.md", "FrozenLake-v1"}
    stream = open_dataset(folder)["FrozenLake-v1"]
    assert 300 <= stream.num_steps < 300 + 100
    told = json.loads((folder / "FrozenLake-v1" / "environment.json").read_text())
    assert told["scores"]["reference"]["mean"] > told["scores"]["random"]["mean"]


def test_collect_continues_a_dataset(tmp_path):
    lengths = []
    for steps in ("100", "200", "200"):
        result = ldm(
            "collect", "--ids", "FrozenLake-v1", "--steps-per-env", steps, "--jobs", "1", "--output", tmp_path
        )
        assert result.exit_code == 0
        lengths.append(open_dataset(tmp_path)["FrozenLake-v1"].num_steps)
    assert 100 <= lengths[0] < 200 <= lengths[1] == lengths[2]


def test_collect_reports_failures_and_goes_on(tmp_path):
    arguments = (
        "--ids",
        "Acrobot-v1,FrozenLake-v1",
        "--steps-per-env",
        "50",
        "--jobs",
        "1",
        "--output",
        tmp_path / "data",
    )
    result = ldm("collect", *arguments, "--references", tmp_path / "none")
    text = result.stdout.replace("\n", " ")
    assert result.exit_code == 1
    assert "1 environments in" in text
    assert "failed: Acrobot-v1: no reference policy" in text and "ldm reference --ids Acrobot-v1" in text
    assert set(open_dataset(tmp_path / "data")) == {"FrozenLake-v1"}


def test_collect_estimates_first(tmp_path):
    arguments = ("--ids", "FrozenLake-v1,CartPole-v1", "--steps-per-env", "2000", "--jobs", "1", "--output", tmp_path)
    result = ldm("collect", *arguments, "--dry-run")
    text = " ".join(result.stdout.split())
    assert result.exit_code == 0 and not list(tmp_path.iterdir())
    assert "Estimate of 2 environments; 0 are complete" in text and "In all 4,000 steps: about" in text
    assert "MB are free" in text


def test_collect_refuses_what_the_disk_cannot_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(cli_collect.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    result = ldm(
        "collect", "--ids", "FrozenLake-v1", "--steps-per-env", "2000", "--jobs", "1", "--output", tmp_path / "data"
    )
    assert isinstance(result.exception, LDMError) and "too little space" in str(result.exception)
    assert not (tmp_path / "data").exists()


def test_collect_everything_has_to_be_said(tmp_path):
    result = ldm("collect", "--output", tmp_path)
    assert isinstance(result.exception, LDMError) and "--all" in str(result.exception)


def test_collect_lets_a_model_act(collected, model, tmp_path):
    arguments = ("--ids", "FrozenLake-v1", "--steps-per-env", "100", "--jobs", "1", "--output", tmp_path)
    result = ldm("collect", *arguments, "--student", model, "--mix", "0.25")
    assert result.exit_code == 0, result.stdout
    table = pq.read_table(tmp_path / "FrozenLake-v1" / "train-00000.parquet", columns=["behaviour"])
    assert set(table["behaviour"].to_pylist()) == {"student-0.25"}


# --- evaluate --------------------------------------------------------------------------------------------------------


def test_evaluate_writes_results_and_a_curve(collected, model, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    output = tmp_path / "new" / "results.json"
    arguments = ["evaluate", "--model", str(model), "--episodes", "2", "--num-envs", "50", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["ldm", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code in (0, None)
    results = json.loads(output.read_text())
    assert set(results) == {"environments", "summary", "command", "measured", "versions"}
    assert list(results["environments"]) == ["FrozenLake-v1"]
    entry = results["environments"]["FrozenLake-v1"]
    measured = {"random", "reference", "ldm", "ldm_history_only"}
    facts = {"domain", "family", "library", "matched"}
    assert set(entry) == {"normalised", "normalised_history_only", *facts, *measured}
    assert (entry["domain"], entry["family"], entry["library"]) == ("toy_text", "FrozenLake", "gymnasium")
    for label in measured:
        spread = "ci" if label in ("random", "reference") else "std"  # those that are packaged are not measured again
        assert {"mean", spread, "episodes"} <= set(entry[label])
        assert entry[label]["episodes"] == 100  # the row asks for more than 2 since returns vary much
    scale = entry["reference"]["mean"] - entry["random"]["mean"]
    for variant in ("", "_history_only"):
        expected = (entry[f"ldm{variant}"]["mean"] - entry["random"]["mean"]) / scale
        assert entry[f"normalised{variant}"] == pytest.approx(expected)
    keys = [
        f"{key}{variant}"
        for key in ("at_least_50", "at_least_80", "at_least_100", "iqm")
        for variant in ("", "_history_only")
    ]
    assert {"n", "families", "families_at_least_80", "matched", *keys} <= set(results["summary"])
    assert results["summary"]["n"] == 1
    assert results["command"].split() == ["ldm", *arguments]
    assert {"python", "ldm_hf", "torch", "transformers", "gymnasium", "numpy"} <= set(results["versions"])
    assert imageio.imread(output.with_suffix(".png")).ndim == 3


def test_evaluate_reuses_the_scores_of_the_dataset(collected, model, tmp_path):
    output = tmp_path / "results.json"
    arguments = ("--episodes", "2", "--num-envs", "50", "--output", output, "--dataset", collected[1])
    result = ldm("evaluate", "--model", model, *arguments)
    assert result.exit_code == 0
    told = json.loads((collected[1] / "FrozenLake-v1" / "environment.json").read_text())["scores"]
    entry = json.loads(output.read_text())["environments"]["FrozenLake-v1"]
    assert {label: entry[label] for label in ("random", "reference")} == told


def test_evaluate_goes_on_after_a_failure_and_tells_it(model, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    output = tmp_path / "results.json"
    names = ("--ids", "CartPole-v7,CliffWalking-v1-short")
    result = ldm("evaluate", "--model", model, *names, "--episodes", "1", "--output", output)
    assert result.exit_code == 1
    results = json.loads(output.read_text())
    assert list(results["environments"]) == ["CliffWalking-v1-short"]
    assert "no environment 'CartPole-v7'" in results["failures"]["CartPole-v7"]
    assert "failed: no environment 'CartPole-v7'" in result.stdout
    assert output.with_suffix(".png").exists()


# --- play ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_play_writes_a_video(model, tmp_path, suffix):
    video = tmp_path / "videos" / f"lake{suffix}"
    result = ldm("play", "--model", model, "--env", "FrozenLake-v1", "--video", video, "--episodes", "3")
    assert result.exit_code == 0
    printed = result.stdout.replace("\n", " ")
    assert len(printed.split("returns: ")[1].split("video")[0].split(",")) == 3
    frames = imageio.imread(video)
    assert len(frames) > 1 and frames.shape[1:] == (256, 256, 3)
    assert frames.std() > 0


def test_playing_follows_from_the_seed(model, tmp_path):
    first, again, other = (
        play(str(model), "Blackjack-v1", tmp_path / "a.gif", episodes=20, seed=seed) for seed in (5, 5, 500)
    )
    assert first == again != other


class Painted(gymnasium.Env):
    """Two steps an episode; ``failing`` names a call that fails."""

    metadata = {"render_modes": ["rgb_array"]}
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, failing: str = "", render_mode: str | None = None) -> None:
        self.failing, self.render_mode = failing, render_mode

    def reset(self, *, seed=None, options=None):
        self.fail("reset")
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.fail("step")
        self.steps += 1
        return np.zeros(2, np.float32), 1.0, self.steps == 2, False, {}

    def render(self):
        self.fail("render")
        return np.full((16, 16, 3), 100 * self.steps, np.uint8)

    def fail(self, call: str) -> None:
        if call == self.failing:
            raise OSError("no display")


@pytest.fixture()
def painted(monkeypatch):
    for call in ("", "render", "reset", "step"):
        gymnasium.register(f"Painted{call}-v0", entry_point=Painted, kwargs={"failing": call})
    yield
    for call in ("", "render", "reset", "step"):
        gymnasium.registry.pop(f"Painted{call}-v0")


def test_environments_that_the_model_does_not_know_are_played(model, tmp_path, painted):
    assert play(str(model), "Painted-v0", tmp_path / "a.gif", episodes=2) == [2.0, 2.0]


@pytest.mark.parametrize("call", ["render", "reset", "step"])
def test_an_environment_that_fails_while_it_is_played_is_named(model, tmp_path, painted, call):
    with pytest.raises(LDMError, match=rf"environment Painted{call}-v0 failed in {call} .*: OSError: no display"):
        play(str(model), f"Painted{call}-v0", tmp_path / "a.gif")


@pytest.mark.parametrize("name", ["BaseStock-v0", "HomeBattery-v0", "nasim-tiny"])
def test_an_environment_without_a_picture_says_so(model, tmp_path, name):
    result = ldm("play", "--model", model, "--env", name, "--video", tmp_path / "a.gif")
    assert result.exit_code == 1 and isinstance(result.exception, LDMError)
    assert f"{name} has no picture" in str(result.exception)
    assert not (tmp_path / "a.gif").exists()


@pytest.mark.parametrize("name", ["StocksTrending-v0", "popgym-RepeatFirstEasy-v0", "lane-keeping-v0"])
def test_an_environment_that_knows_no_render_mode_has_no_picture_either(model, tmp_path, name):
    with pytest.raises(LDMError, match=f"{name} has no picture"):
        play(str(model), name, tmp_path / "a.gif")


def test_pictures_of_real_numbers_are_written_too(model, tmp_path):
    play(str(model), "MinAtar-Breakout", tmp_path / "a.gif")
    frames = imageio.imread(tmp_path / "a.gif")
    assert len(frames) > 1 and frames.max() > 100


def test_several_environments_are_played_side_by_side(model, tmp_path, painted):
    names = ["Painted-v0", "Paintedstep-v0", "FrozenLake-v1", "nasim-tiny"]
    failures = play_grid(str(model), names, tmp_path / "grid.gif", seconds=1, side=64, fps=5)
    assert set(failures) == {"Paintedstep-v0", "nasim-tiny"}
    frames = imageio.imread(tmp_path / "grid.gif")
    assert frames.shape[1:3] == (64 + CAPTION, 2 * 64)
    assert frames[:, :, :64].std() > 0 and frames[:, :, 64:].std() > 0
    result = ldm("play", "--model", model, "--env", "Painted-v0,FrozenLake-v1")
    assert result.exit_code == 1 and "--video grid.mp4" in str(result.exception)


def test_play_names_the_extra_without_imageio(model, tmp_path, monkeypatch, painted):
    monkeypatch.setitem(sys.modules, "imageio.v3", None)
    with pytest.raises(MissingExtraError, match=r'imageio is not installed.*"ldm_hf\[eval\]"'):
        play(str(model), "Painted-v0", tmp_path / "a.gif")


def test_recorded_references_and_families_are_listed():
    result = ldm("reference", "--list", "--json", "--ids", "CartPole-v1,CartPole-length0.1-v1")
    whole, short = json.loads(result.stdout)
    assert whole["name"] == "CartPole-v1" and whole["reference"]["mean"] == 500 and whole["of_public"] == 1
    assert (
        set(whole)
        == set(short)
        == {
            *(
                "name",
                "family",
                "domain",
                "library",
                "method",
                "random",
                "reference",
                "beats_random",
                "public",
                "of_public",
            )
        }
    )
    assert short["public"] is short["of_public"] is None
    assert (
        "2 environments of 1 families"
        in ldm("reference", "--list", "--ids", "CartPole-v1,CartPole-length0.1-v1").stdout
    )
    assert "--json goes with --list" in str(ldm("reference", "--json").exception)
    families = json.loads(ldm("envs", "list", "--families", "--json", "--library", "MinAtar").stdout)
    assert families["MinAtar-Breakout"] == ["MinAtar-Breakout"] and len(families) == 5
    assert "5 environments of 5 families" in ldm("envs", "list", "--families", "--library", "MinAtar").stdout


def test_a_suite_is_played_by_the_references(tmp_path):
    arguments = (
        "evaluate",
        "--suite",
        "nasim",
        "--ids",
        "nasim-tiny",
        "--episodes",
        "1",
        "--output",
        tmp_path / "n.json",
    )
    result = ldm(*arguments, "--policy", "reference")
    assert result.exit_code == 0 and "NASim's benchmark scenarios: references" in result.stdout
    assert json.loads((tmp_path / "n.json").read_text())["tasks"]["nasim-tiny"]["normalised"] > 0.9
    assert "1 of 9 tasks were tried" in (tmp_path / "n.md").read_text()
    for wrong, why in {
        (): "no model",
        ("--policy", "reference", "--model", "m"): "leave --model out",
        ("--policy", "reference", "--seed", "1"): "do not go with --suite",
        ("--model", "m", "--save"): "--save records scores of references",
    }.items():
        assert why in str(ldm(*arguments, *wrong).exception)
    assert "go with --suite" in str(ldm("evaluate", "--policy", "reference").exception)
