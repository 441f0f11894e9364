"""The two files of an exported model: ``step.onnx``, the graph, and ``step.json``, what goes into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CheckpointError, UnsupportedSpaceError
from ..layout_ldm import EnvironmentLayout, Sizes
from ..spaces import Json, space_from_json, space_to_json

if TYPE_CHECKING:
    from ..processing_ldm import LDMProcessor

GRAPH, SHAPES = "step.onnx", "step.json"
FORMAT_VERSION = 1
LARGEST = 2**24  # of a size; a file that asks for more is damaged


def export_onnx(
    model: str | Path, folder: str | Path, environment: str, task: str | None = None, int8: bool = False
) -> Path:
    """Writes a step of a model in one environment as ONNX, and the shapes of what goes into it.

    Args:
        model: folder or Hub id of a pretrained model.
        folder: folder to write; other files in it stay.
        environment: name of the environment, known to the model or to the catalogue, or a Gymnasium id.
        task: task text; by default that of the known environment. ``""`` acts from history alone.
        int8: multiply by weights of 8 bits, with one scale per column.

    Raises:
        CheckpointError: if there is no usable model, or it has layers without attention.
        MissingExtraError: if onnx, onnxruntime or onnxscript is not installed.
        UnknownEnvironmentError: if there is no such environment.
    """
    from ..agent import load_model
    from ..compiled.exporting import export_step, quantised, shapes
    from ..utils.files import save_json, unfinished_file, writing

    weights, processor = load_model(model)
    entry = _describe(processor, environment)
    layout = _layout(processor.sizes, environment, entry)
    graph = export_step(weights, layout, layout.task_ids if task is None else layout.encode_task(task))
    told = {"format_version": FORMAT_VERSION, "environment": environment, **entry, "sizes": asdict(processor.sizes)}
    if task is not None:
        told["task"] = task or None
    told |= {"inputs": shapes(graph.graph.input), "outputs": shapes(graph.graph.output)}
    folder = Path(folder)
    with writing(folder / GRAPH), unfinished_file(folder / GRAPH) as temporary:
        temporary.write_bytes((quantised(graph) if int8 else graph).SerializeToString())
    save_json(told, folder / SHAPES)
    return folder


def _describe(processor: LDMProcessor, environment: str) -> Mapping[str, Json]:
    """What the model knows of an environment, or else its spaces."""
    if environment in processor.environments:
        return processor.environments[environment]
    from ..environments import make

    env = make(environment)
    try:
        spaces = {name: space_to_json(getattr(env, name)) for name in ("observation_space", "action_space")}
    finally:
        env.close()
    return {**spaces, "statistics": None, "task": None}


def _layout(sizes: Sizes, environment: str, entry: Mapping[str, Json]) -> EnvironmentLayout:
    return EnvironmentLayout(
        sizes,
        space_from_json(entry["observation_space"]),
        space_from_json(entry["action_space"]),
        name=environment,
        statistics=entry["statistics"],
        task=entry["task"],
    )


def read_layout(path: Path) -> EnvironmentLayout:
    """The environment of an exported model.

    Raises:
        CheckpointError: if the file is missing, damaged or of a later version; names it.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["format_version"] != FORMAT_VERSION:
            raise ValueError(
                f"its format is {told['format_version']!r:.20}, this version of ldm_hf reads {FORMAT_VERSION}"
            )
        sizes = Sizes(**told["sizes"])
        if not all(type(size) is int and 0 < size <= LARGEST for size in asdict(sizes).values()):
            raise ValueError(f"a size is no whole number from 1 to {LARGEST:,}")
        return _layout(sizes, str(told["environment"]), told)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, UnsupportedSpaceError) as error:
        raise CheckpointError(f"{path} is damaged ({error!s:.300}); export the model again.") from error
