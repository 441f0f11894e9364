"""What a model would have done at each step of a log, with what was really done as its history (teacher forcing)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from tqdm.auto import tqdm

from ..errors import NonFiniteError
from ..modeling_ldm import LDMForActionPrediction
from ..processing_ldm import LDMProcessor
from ..spaces import Arrays
from ..trajectories.reader import EnvironmentTrajectories

CHUNK = 256  # steps that one row of a batch answers for
ROWS = 16  # of a batch


def propose(
    model: LDMForActionPrediction,
    processor: LDMProcessor,
    stream: EnvironmentTrajectories,
    episodes: np.ndarray,
    owners: np.ndarray,
    progress: bool = False,
) -> Arrays:
    """The most likely actions at all steps of some episodes.

    An agent that acts in one entity after another would propose the same: the history of a step is all that was
    logged of its entity before, across the ends of episodes, as far back as the model can look.

    Args:
        model: trained model.
        processor: its processor, which knows the environment under the stream's name.
        stream: whole stream of the environment.
        episodes: numbers of the episodes ``(K,)``, increasing.
        owners: entity of each episode of the stream.
        progress: show a bar.

    Returns:
        Actions ``{path: (N, *shape)}`` at the N steps of these episodes.

    Raises:
        NonFiniteError: if the model computes NaN.
    """
    layout = processor.layout(stream.info.name)
    elements = len(layout.actions.sizes)
    reach = sum(window or model.config.window for window in model.config.windows)
    pieces = list(_pieces(stream.episode_starts, episodes, owners, reach))
    found = []
    model.eval()
    for first in tqdm(range(0, len(pieces), ROWS), desc="propose", leave=False, disable=not progress):
        batch = pieces[first : first + ROWS]
        encoded = [
            layout.encode_segment(stream.slice(begin - (begin > origin), stop), past=int(begin > origin))
            for origin, begin, _, stop in batch
        ]
        inputs = processor(encoded).to(model.device)
        inputs.pop("labels")
        with torch.inference_mode():
            output = model(**inputs)
        logits, means, deviations = (
            tensor.view(len(batch), elements, *tensor.shape[1:]).transpose(1, 2).float().cpu().numpy()
            for tensor in (output.logits, output.means, output.deviations)
        )
        for row, (_, begin, start, stop) in enumerate(batch):
            part = slice(start - begin, stop - begin)
            found.append(layout.actions.choose(logits[row, part], means[row, part], deviations[row, part]))
    positions = np.concatenate(found)
    if not np.isfinite(positions).all():
        raise NonFiniteError(f"{stream.info.name}: the model proposes NaN; its weights are damaged: train it again.")
    return layout.actions.decode(positions)


def _pieces(
    starts: np.ndarray, episodes: np.ndarray, owners: np.ndarray, reach: int
) -> Iterator[tuple[int, int, int, int]]:
    """Pieces of at most `CHUNK` steps: first step of the entity, first step to read, first and last to answer for.

    Args:
        starts: first step of every episode.
        episodes: numbers of the episodes to answer for.
        owners: entity of every episode.
        reach: steps that the model looks back.
    """
    changes = np.flatnonzero(owners[1:] != owners[:-1]) + 1
    origins = starts[np.append(0, changes)]
    for number in episodes:
        first, last = int(starts[number]), int(starts[number + 1])
        origin = int(origins[np.searchsorted(changes, number, side="right")])
        for start in range(first, last, CHUNK):
            yield origin, max(origin, start - reach), start, min(last, start + CHUNK)
