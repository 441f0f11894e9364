"""The dataset card: what the Hub shows of a dataset, and where `datasets` finds its configs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData
from yaml import YAMLError

from ..errors import DatasetError
from ..utils.files import write_atomically
from ..utils.names import check_name
from ..utils.tables import markdown_table
from .schema import EnvironmentInfo
from .writer import shards, stored

BEGIN, END = "<!-- ldm_hf: made from the data -->", "<!-- /ldm_hf -->"
SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "n>1B")
INTRODUCTION = """# {title}

Decisions of policies, operators or other agents, step by step: observation, action, reward, ends of episodes, and the \
action to imitate as label. One config an
environment, one row an episode, made with `ldm_hf`.
"""
LOADING = """## Loading

```python
from datasets import load_dataset

episodes = load_dataset("{place}", "{config}", split="train")  # streaming=True reads it from the Hub bit by bit
```

As streams for training, with spaces, scores and statistics:

```python
from ldm_hf.trajectories import open_dataset

stream = open_dataset("{place}", ["{config}"])["{config}"]
steps = stream.slice(0, 100)
```
"""


def write_readme(
    folder: str | Path, title: str | None = None, licence: str | None = None, repo_id: str | None = None
) -> Path:
    """Writes the dataset's ``README.md``: metadata for the Hub, a table of environments, licences, and how to load it.

    An existing card keeps its other metadata and its text; only the part between the marks is replaced.

    Args:
        folder: folder of the dataset.
        title: title of the card; by default that of the existing card, or else the folder's name.
        licence: licence of the data, as the Hub spells it: ``apache-2.0``, ``cc-by-4.0``, ``other``, ...
        repo_id: id of the repo on the Hub, for the loading code; the folder by default.

    Returns:
        Path of the card.

    Raises:
        DatasetError: if an environment or the existing card is damaged.
        LDMError: if the card cannot be written.
    """
    folder = Path(folder)
    path = folder / "README.md"
    configs = [file.parent for file in sorted(folder.glob("*/environment.json")) if shards(file.parent)]
    infos = [EnvironmentInfo.load(config) for config in configs]
    sizes = [stored(config) for config in configs]
    old = _existing(path)
    metadata: dict[str, Any] = old.data.to_dict() if old else {}
    metadata |= {
        "task_categories": sorted({*(metadata.get("task_categories") or ()), "reinforcement-learning"}),
        "tags": sorted({*(metadata.get("tags") or ()), "ldm_hf", "imitation-learning"}),
        "size_categories": [_size_category(sum(episodes for episodes, _ in sizes))],
        "configs": [
            {"config_name": name, "data_files": [{"split": "train", "path": f"{name}/train-*.parquet"}]}
            for name in (check_name(config.name) for config in configs)
        ],
    }
    metadata["pretty_name"] = title or metadata.get("pretty_name") or folder.resolve().name
    if licence:
        metadata["license"] = licence
    example = {"place": repo_id or folder, "config": configs[0].name if configs else "CartPole-v1"}
    made = "\n".join(
        [BEGIN, *_environments(infos, sizes), "", *_licences(infos), "", LOADING.format(**example).rstrip(), END]
    )
    text = old.text.strip() if old else ""
    if BEGIN in text and END in text:
        text = re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda match: made, text, count=1, flags=re.DOTALL)
    else:
        text = f"{text or INTRODUCTION.format(title=metadata['pretty_name']).strip()}\n\n{made}"
    text = f"---\n{DatasetCardData(**metadata).to_yaml()}\n---\n\n{text}\n"
    if old is None or path.read_text(encoding="utf-8") != text:  # a folder that is complete may be read-only
        write_atomically(path, text)
    return path


def _existing(path: Path) -> DatasetCard | None:
    """The card that is there; None if there is none."""
    if not path.exists():
        return None
    try:
        card: DatasetCard = DatasetCard.load(path, ignore_metadata_errors=True)
        for name in ("task_categories", "tags"):
            sorted(card.data.to_dict().get(name) or [])
        return card
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, YAMLError) as error:
        raise DatasetError(f"{path} is damaged ({error}); repair or remove it, and a new one is written.") from error


def _size_category(rows: int) -> str:
    """The Hub's word for a number of rows."""
    return SIZES[min(max(len(str(rows)) - 3, 0), len(SIZES) - 1)]


def _environments(infos: list[EnvironmentInfo], sizes: list[tuple[int, int]]) -> list[str]:
    """The section with the table of environments; ``sizes`` are their episodes and steps."""
    header = ["environment", "domain", "episodes", "steps", "library", "licence", "random", "reference", "method"]
    rows = []
    for info, (episodes, steps) in zip(infos, sizes, strict=True):
        random, reference = (
            f"{info.scores[kind]['mean']:.4g}" if kind in info.scores else "" for kind in ("random", "reference")
        )
        library = f"{info.library} {info.version}".strip()
        counts = f"{episodes:,}", f"{steps:,}"
        rows.append([info.name, info.domain, *counts, library, info.licence, random, reference, info.reference])
    table = markdown_table(header, rows, right=("episodes", "steps", "random", "reference"))
    return ["## Environments", "", "Random and reference: mean return per episode.", "", table]


def _licences(infos: list[EnvironmentInfo]) -> list[str]:
    """The section that lists, licence by licence, what is under it."""
    under: dict[str, set[str]] = {}
    for info in infos:
        under.setdefault(info.licence or "not stated", set()).add(info.library or info.name)
    lines = [f"* {licence}: {', '.join(sorted(names))}" for licence, names in sorted(under.items())]
    return ["## Licences", "", "Of the environments, and of logs where they were imported:", "", *lines]
