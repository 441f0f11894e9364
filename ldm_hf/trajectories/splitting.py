"""Which episodes are left out of the training, to test on: the last ones of each entity, or whole entities."""

from __future__ import annotations

import numpy as np

from ..errors import DatasetError
from .reader import EnvironmentTrajectories
from .writer import of_episodes


def entities(stream: EnvironmentTrajectories) -> np.ndarray:
    """The entity of each episode of a whole stream, ``(num_episodes,)`` of str; empty texts where none is recorded."""
    return np.array(of_episodes(stream.folder, "entity", ""), object)


def test_episodes(stream: EnvironmentTrajectories, rule: str) -> np.ndarray:
    """Which episodes are for the test, ``(num_episodes,)`` bool. Never single steps, whose neighbours would tell them.

    Args:
        stream: whole stream of an environment.
        rule: a share between 0 and 1, such as ``0.2``: the last episodes of every entity (of the stream, where no
            entities are recorded), at least one, and none of an entity that has a single episode; or names of entities,
            separated by commas, all of whose episodes are for the test.

    Raises:
        DatasetError: if the rule leaves nothing to train on or nothing to test on; says what there is.
    """
    owners, name = entities(stream), stream.info.name
    known = sorted(set(owners) - {""})
    share = _share(rule)
    if share is not None:
        if not 0 < share < 1:
            raise DatasetError(f"{name}: a share of test episodes is between 0 and 1, not {rule}.")
        chosen = np.zeros(len(owners), bool)
        for owner in set(owners):
            (numbers,) = np.nonzero(owners == owner)
            if len(numbers) > 1:
                chosen[numbers[-min(max(1, round(share * len(numbers))), len(numbers) - 1) :]] = True
        if not chosen.any():
            each = f"each of its {len(known)} entities has" if known else "it has"
            cure = f", or name entities to leave out ({', '.join(known[:5])})" if len(known) > 1 else ""
            raise DatasetError(
                f"{name}: {each} one episode only, so that no last ones can be left out for the test; import the log "
                f"in several episodes (`episode: COLUMN` in the YAML, such as a column of days){cure}."
            )
        return chosen
    names = [part.strip() for part in rule.split(",")]
    if unknown := [part for part in names if part not in known]:
        raise DatasetError(
            f"{name} has no entity {', '.join(map(repr, unknown))}; "
            + (f"it has: {', '.join(known[:20])}." if known else "it records no entities: give a share, such as 0.2.")
        )
    chosen = np.isin(owners.astype(str), names)
    if chosen.all():
        raise DatasetError(f"{name}: if all its entities are for the test, nothing is left to train on.")
    return chosen


def _share(rule: str) -> float | None:
    """The rule as a number; None if it is none."""
    try:
        return float(rule)
    except ValueError:
        return None
