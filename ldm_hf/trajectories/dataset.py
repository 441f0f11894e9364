"""Opens datasets: a folder, a repo on the Hub, or a mixture of several."""

from __future__ import annotations

from pathlib import Path

from ..errors import DatasetError
from .mixture import open_mixture
from .streams import Streams, find_configs, open_stream, opening


def open_dataset(
    path_or_repo: str | Path,
    names: list[str] | None = None,
    min_return_percentile: float | None = None,
    test_episodes: str | None = None,
) -> Streams:
    """Opens a trajectory dataset, or a mixture of several.

    Args:
        path_or_repo: a local folder, the id of a dataset repo on the Hub (each environment is downloaded when its first
            step is read), or a mixture file (``.yaml``, see `Mixture`).
        names: names of the environments to open; all by default.
        min_return_percentile: leaves out episodes whose return is below this percentile of their environment's returns.
        test_episodes: leaves out episodes to test on: a share of the last ones, or names of entities; see
            `splitting.test_episodes`.

    Returns:
        The stream of each environment, by name, and their weights.

    Raises:
        DatasetError: if there is no such dataset or environment, or a shard is damaged.
    """
    if Path(path_or_repo).suffix in (".yaml", ".yml"):
        return open_mixture(path_or_repo, names, min_return_percentile, test_episodes)
    configs = find_configs(path_or_repo, names)
    unknown = [name for name in names or [] if name not in configs]
    for name in unknown:
        if (folder := Path(path_or_repo) / name).joinpath("environment.json").exists():
            raise DatasetError(f"{folder} is empty: it has no train-*.parquet; collect or import it again.")
    if unknown:
        raise DatasetError(f"{path_or_repo} has no environment(s) {', '.join(unknown)}; it has: {', '.join(configs)}.")
    chosen = names or list(configs)
    return Streams(
        {name: open_stream(configs[name], min_return_percentile, test_episodes) for name in opening(chosen, "open")}
    )
