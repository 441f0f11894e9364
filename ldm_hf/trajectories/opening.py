"""Opens datasets: a folder, a repo on the Hub, or a mixture of several."""

from __future__ import annotations

from pathlib import Path

from tqdm.auto import tqdm

from ..errors import DatasetError
from .mixture import open_mixture
from .streams import Streams, config_names, dataset_folder, open_stream


def open_dataset(
    path_or_repo: str | Path, names: list[str] | None = None, min_return_percentile: float | None = None
) -> Streams:
    """Opens a trajectory dataset, or a mixture of several.

    Args:
        path_or_repo: a local folder, the id of a dataset repo on the Hub (what is asked for is downloaded once), or a mixture file
            (``.yaml``, see `Mixture`).
        names: of environments; all by default.
        min_return_percentile: leaves out episodes whose return is below this percentile of their environment's returns.

    Returns:
        The stream of each environment, by name, and their weights.

    Raises:
        DatasetError: if there is no such dataset or environment, or a shard is damaged.
    """
    if Path(path_or_repo).suffix in (".yaml", ".yml"):
        return open_mixture(path_or_repo, names, min_return_percentile)
    folder = dataset_folder(path_or_repo, names)
    found = config_names(folder)
    for name in names or []:
        if (folder / name / "environment.json").exists() and name not in found:
            raise DatasetError(f"{folder / name} is empty: it has no train-*.parquet; collect or import it again.")
    unknown = [name for name in names or [] if name not in found]
    if unknown:
        raise DatasetError(f"{folder} has no environment(s) {', '.join(unknown)}; it has: {', '.join(found)}.")
    chosen = names or found
    bar = tqdm(chosen, desc="open", disable=len(chosen) < 8, leave=False)
    return Streams({name: open_stream(folder / name, min_return_percentile) for name in bar})
