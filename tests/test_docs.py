"""The documentation: every block runs as printed, every link leads somewhere, the site builds without a warning."""

import doctest
import json
import os
import re
import subprocess
import sys
import zlib
from importlib import import_module
from pathlib import Path

import gymnasium
import pytest
from markdown.extensions.toc import slugify
from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser
from yaml import safe_load

from ldm_hf.environments import catalogue
from ldm_hf.environments.library_folders import read_library
from ldm_hf.environments.specs import expand
from ldm_hf.references import reference_scores

from . import fork_server

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
]
FILE = re.compile(r"# (\w+\.(?:py|yaml))\b.*\n")  # the first line of a block that is a file names it

# Bash runs the blocks; these only make the numbers small and the starts quick. What is installed already is not
# installed again.
SMALL = f"""
set -euo pipefail
ldm() {{ case $1 in
    collect) command ldm "$@" --steps-per-env 300 --jobs 1 ;;
    evaluate) case "$*" in *--logs*) command ldm "$@" ;; *) command ldm "$@" --episodes 2 ;; esac ;;
    improve) command ldm "$@" --rounds 1 --steps 300 --updates 2 --episodes 2 --batch-size 2 --jobs 1 ;;
    serve) exec "$(type -P ldm)" "$@" ;;  # in the background: what is stopped is the server
    *) command ldm "$@" ;;
esac; }}
python() {{ case $1 in
    examples/plant_log.py) command python "$@" --days 130 ;;
    *) command python "$@" ;;
esac; }}
accelerate() {{ command accelerate "$@" --max_steps 2 --batch_size 2 --cpu_threads 1; }}
make() {{ command make --dry-run --directory "{ROOT}" "$@" > /dev/null; }}
pip() {{ :; }}
"""


def python(example):
    path = FILE.match(example.parsed)
    if path:
        Path(path[1]).write_text(example.parsed)
        import_module(Path(path[1]).stem)
    else:
        PythonEvaluator()(example)


def bash(example):
    # what a block exports is there in the next one
    script = f"{SMALL}\ntest ! -e exported || source exported\n{example.parsed}\nexport -p > exported"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, f"{example.path}:{example.line}\n{result.stdout[-2000:]}\n{result.stderr[-3000:]}"


def yaml(example):
    path = Path(FILE.match(example.parsed)[1])
    path.write_text(example.parsed)
    told = safe_load(example.parsed)
    if "rows" in told:  # a library
        assert expand(read_library(path).rows)
    if not isinstance(told, list):  # no table of environments
        return
    known = set(catalogue())
    os.environ["LDM_HF_CATALOGUE"] = str(path)
    catalogue.cache_clear()
    assert set(catalogue()) > known


BLOCKS = Sybil([CodeBlockParser("python", python), CodeBlockParser("bash", bash), CodeBlockParser("yaml", yaml)])


def own_package():
    """The file ``my_package.py`` that docs/your-own-data.md prints and the README speaks of."""
    return next(block.parsed for block in BLOCKS.parse(ROOT / "docs/your-own-data.md").examples())


@pytest.fixture()
def workplace(model, processor, tmp_path, monkeypatch):
    """A folder like that of a user after `make quickstart`: a model, the scripts, a package of one's own."""
    env = gymnasium.make("CartPole-v1")
    processor.add_environment("CartPole-v1", env.observation_space, env.action_space, task="Balance the pole.")
    for part in (model, processor):
        part.save_pretrained(tmp_path / "outputs/quickstart/model")
    (tmp_path / "model_cards").symlink_to(ROOT / "model_cards")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "my_package.py").write_text(own_package())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("PATH", fork_server.commands(), prepend=os.pathsep)
    for name, value in {"SDL_VIDEODRIVER": "dummy", "HF_HUB_OFFLINE": "1", "LDM_HF_CATALOGUE": ""}.items():
        monkeypatch.setenv(name, value)
    yield
    catalogue.cache_clear()
    sys.modules.pop("my_package", None)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if "```" in (ROOT / page).read_text(encoding="utf-8")])
def test_every_block_runs(page, workplace):
    examples = list(BLOCKS.parse(ROOT / page).examples())
    assert len(examples) == len(
        re.findall(r"^```\w", (ROOT / page).read_text(encoding="utf-8"), re.M)
    )  # none is left out
    for example in examples:
        example.evaluate()


OUTSIDE = [  # inside of docs/ the build of the site checks links
    (page, *link)
    for page in PAGES[:3]
    for link in re.findall(r"\]\((?!https?://)([^)#]+)#?([^)]*)\)", (ROOT / page).read_text())
]


@pytest.mark.parametrize(("page", "target", "anchor"), OUTSIDE)
def test_links_lead_somewhere(page, target, anchor):
    path = (ROOT / page).parent / target
    assert path.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.M)
        assert anchor in [slugify(heading, "-") for heading in headings]


def test_the_readme_fits_on_a_few_screens():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130 and len(text.split()) < 900


def test_the_readme_counts_the_catalogue_as_it_is():
    text, rows, scores = (ROOT / "README.md").read_text(encoding="utf-8"), catalogue(), reference_scores()
    counted = [len(rows), len({row.library for row in rows.values()}), len(scores)]
    counted.append(sum(score["beats_random"] for score in scores.values()))
    pattern = r"has ([\d,]+) environments of (\d+) libraries; ([\d,]+) are measured, and in ([\d,]+) a reference"
    assert [int(number.replace(",", "")) for number in re.search(pattern, text).groups()] == counted


def test_the_readme_repeats_the_results_of_the_published_model():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    folder = ROOT / "model_cards/ldm-nano"
    trained, unseen = (
        {name: entry["normalised"] for name, entry in json.loads((folder / file).read_text())["environments"].items()}
        for file in ("results.json", "results-unseen.json")
    )
    foreign = {name: score for name, score in unseen.items() if name.startswith("Foraging")}
    relatives = {name: score for name, score in unseen.items() if name not in foreign}
    without_bsuite = {name: score for name, score in trained.items() if not name.startswith("bsuite")}
    told = [tuple(map(int, row)) for row in re.findall(r"^\|.*\| (\d+) \| (\d+) \|$", text, re.M)]
    groups = (trained, without_bsuite, relatives, foreign)
    assert told == [(len(group), sum(score >= 0.8 for score in group.values())) for group in groups]


MODULES = [path for path in sorted((ROOT / "ldm_hf").rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_examples_in_docstrings(path, workplace):
    module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    result = doctest.testmod(module)
    assert result.attempted == path.read_text(encoding="utf-8").count(">>> ") and not result.failed  # none is skipped


PUBLIC = [  # packages say what is public in them; in plain modules it is whatever has no underscore
    *("ldm_hf", "ldm_hf.environments", "ldm_hf.evaluation", "ldm_hf.references", "ldm_hf.trajectories"),
    *("ldm_hf.importers", "ldm_hf.hub", "ldm_hf.rollouts"),
    *("ldm_hf.collection", "ldm_hf.training", "ldm_hf.errors", "ldm_hf.improving"),
]


def public_names(name):
    module = import_module(name)
    own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == name and key[0] != "_"]
    return set(getattr(module, "__all__", own))


COMMANDS = ("reference", "collect", "improve", "evaluate", "play", "import", "push", "serve")


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_tells_all_public_names(tmp_path):
    # not --quiet, with which it does not count warnings
    command = [sys.executable, "-m", "properdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    *_, packed = (tmp_path / "objects.inv").read_bytes().split(b"\n", 4)
    entries = [line.split(" ") for line in zlib.decompress(packed).decode().splitlines()]
    told = {path.rpartition(".")[2] for path, role, *_ in entries if role != "py:module"}
    assert set().union(*map(public_names, PUBLIC), {"RingBufferCache", "load_model", "play"}) <= told
    command_page = (tmp_path / "api/ldm/index.html").read_text(encoding="utf-8")
    assert all(f">ldm {name}<" in command_page for name in (*COMMANDS, "envs list", "dataset card"))
