"""Where things are: arrows between folders point one way, the root stays small, files stay short."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ldm_hf"
FLOORS = (  # whatever is in a line may be imported by the lines below it, and by its own folder
    {"errors", "hashing"},
    {"spaces", "configuration_ldm", "utils"},
    {
        "actions_ldm",
        "interfaces_ldm",
        "observations_ldm",
        "statistics_ldm",
        "known_ldm",
        "cache_ldm",
        "demonstrations_ldm",
    },
    {"rollouts", "environments"},
    {"layout_ldm", "modeling_ldm", "state_ldm", "references", "trajectories"},
    {"processing_ldm", "importers", "libraries"},
    {"compiled", "auto"},
    {"agent"},
    {"collection", "evaluation", "onnx"},
    {"training"},
    {"hub", "suites", "offline", "improving", "serving"},
    {"demo"},
    {"cli"},
)
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def imports(path: Path) -> Iterator[str]:
    """The rooms that a file imports, also late in a function; not those that only a type checker sees."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    inside = ("ldm_hf", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or id(node) in checked:
            continue
        base = inside[: len(inside) - node.level + 1] if node.level else ()
        module = (*base, *(node.module or "").split("."))
        parts = [part for part in module if part]
        if parts[:1] == ["ldm_hf"]:
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]


def test_arrows_between_rooms_point_one_way():
    rooms = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms - {"__init__"} == set(FLOOR)
    wrong = {
        f"{path.relative_to(ROOT)} imports {target}"
        for path in PACKAGE.rglob("*.py")
        if (room := path.relative_to(PACKAGE).with_suffix("").parts[0]) != "__init__"
        for target in imports(path)
        if target in FLOOR and target != room and FLOOR[target] >= FLOOR[room]
    }
    assert wrong == set()


def test_the_root_of_the_package_stays_small():
    assert len(list(PACKAGE.glob("*.py"))) <= 17


def test_files_stay_short():
    long = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert max(long.values()) <= 500, max(long, key=long.__getitem__)


def test_a_repo_of_a_model_holds_no_code():
    assert not list((ROOT / "model_cards").rglob("*.py"))


@pytest.mark.parametrize("package", sorted(path.parent for path in PACKAGE.rglob("__init__.py")), ids=lambda p: p.name)
def test_no_module_and_function_share_a_name(package):
    face = (package / "__init__.py").read_text(encoding="utf-8")
    told = set(re.findall(r'"(\w+)"', face.partition("__all__")[2]))
    assert told.isdisjoint(path.stem for path in package.iterdir()), "the name would hide the module"
