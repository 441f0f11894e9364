"""The history of an agent's lanes, and the file that keeps it when the process ends."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import CheckpointError, UnwritableError
from .statistics_ldm import STATISTICS, RunningStatistics

FORMAT_VERSION = 1
LANES = ("positions", "reward", "terminated", "truncated", "has_previous", "reward_known", "idle")


@dataclass
class LDMState:
    """The history of ``B`` lanes. It belongs to the caller that steps the environments; the model keeps nothing.

    Args:
        cache: keys and values of the last window, a `RingBufferCache` or what an exported step keeps.
        positions: positions of the previous action's elements, ``(B, E)``.
        reward: rewards of the previous step, ``(B,)``.
        terminated: termination flags of the previous step, ``(B,)``.
        truncated: truncation flags of the previous step, ``(B,)``.
        has_previous: False until a lane has acted, ``(B,)``.
        statistics: statistics of the stream so far, for an environment that is not known.
        reward_known: False where an episode was broken off before its last reward was passed, ``(B,)``.
        idle: True where the last action was not executed, ``(B,)``.
    """

    cache: Any
    positions: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    has_previous: np.ndarray
    statistics: RunningStatistics
    reward_known: np.ndarray
    idle: np.ndarray

    @classmethod
    def empty(cls, cache: Any, lanes: int, elements: int, precision: np.ndarray) -> LDMState:
        """A state of lanes that have no history.

        Args:
            cache: an empty cache.
            lanes: number of lanes, B.
            elements: number of an action's elements, E.
            precision: relative precision of an observation's numbers, see `RunningStatistics`.
        """
        no = np.zeros(lanes, bool)
        positions, reward = np.zeros((lanes, elements), np.float32), np.zeros(lanes)
        statistics = RunningStatistics(lanes, precision)
        return cls(cache, positions, reward, no, no.copy(), no.copy(), statistics, ~no, no.copy())

    @property
    def lanes(self) -> int:
        """Number of lanes, B."""
        return len(self.reward)

    def clear(self, lanes: np.ndarray) -> None:
        """Forgets the history of the lanes where ``lanes``, ``(B,)`` bool, is True."""
        self.cache.reset(lanes)
        self.has_previous[lanes] = self.terminated[lanes] = self.truncated[lanes] = self.idle[lanes] = False
        self.statistics.reset(lanes)

    def feed(
        self,
        given: np.ndarray,
        present: np.ndarray,
        feedback: tuple[np.ndarray, np.ndarray, np.ndarray],
        next_step: np.ndarray | bool,
    ) -> np.ndarray:
        """Notes what came back from the environments together with an observation.

        Args:
            given: lanes whose environment was stepped, ``(B,)`` bool; the others were reset.
            present: lanes that take part, ``(B,)`` bool.
            feedback: rewards and both flags, ``(B,)`` each, of the lanes where they are given.
            next_step: lanes in which the step after the end of an episode only resets, ``(B,)`` bool or one for all.

        Returns:
            Lanes that keep the step to be taken, ``(B,)`` bool.
        """
        rewards, terminations, truncations = feedback
        # The last reward of an episode that was broken off is unknown; that of an episode that ended was passed.
        broken_off = ~given & self.has_previous & ~self.terminated & ~self.truncated
        # With NEXT_STEP autoreset, the step after an end only resets: its reward and flags mean nothing.
        counts = given & ~self.idle & self.has_previous & present
        self.reward_known = np.where(given, self.reward_known | counts, ~broken_off)
        self.reward = np.where(counts, rewards, self.reward)
        self.terminated = np.where(counts, terminations, self.terminated)
        self.truncated = np.where(counts, truncations, self.truncated | broken_off)
        # the last observation of an episode: its action will not be executed
        ending = given & next_step & ~self.idle & (terminations | truncations)
        active: np.ndarray = present & ~ending
        self.idle = ~active
        return active

    def note(self, positions: np.ndarray, active: np.ndarray) -> None:
        """Notes the positions ``(B, E)`` of chosen actions in the lanes that keep the step."""
        self.positions = np.where(active[:, None], positions, self.positions)
        self.has_previous = self.has_previous | active

    def select(self, rows: np.ndarray) -> LDMState:
        """A copy of some lanes, without their cache."""
        some = {name: getattr(self, name)[rows] for name in LANES}
        return LDMState(cache=None, statistics=self.statistics.select(rows), **some)

    def assign(self, rows: np.ndarray, some: LDMState) -> None:
        """Takes over the lanes that `select` gave, as they are now."""
        for name in LANES:
            getattr(self, name)[rows] = getattr(some, name)
        self.statistics.assign(rows, some.statistics)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that it holds, by name."""
        found = {name: np.asarray(getattr(self, name)) for name in LANES}
        found |= {f"statistics.{name}": getattr(self.statistics, name) for name in STATISTICS}
        return found | {f"cache.{name}": array for name, array in self.cache.arrays.items()}

    def take(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes over what `arrays` gave.

        Raises:
            ValueError: if an array is missing or has another shape or type.
        """
        prefix = "cache."
        cache = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        own = {name: array for name, array in self.arrays().items() if not name.startswith(prefix)}
        check_arrays(own, {name: array for name, array in arrays.items() if not name.startswith(prefix)})
        self.cache.take_arrays(cache)
        for name in LANES:
            setattr(self, name, arrays[name])
        for name in STATISTICS:
            setattr(self.statistics, name, arrays[f"statistics.{name}"])


def check_arrays(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> None:
    """Checks that arrays are those expected, by name, type and shape.

    Raises:
        ValueError: if they are not; names the first.
    """
    for name in sorted(expected.keys() | found.keys()):
        one, other = expected.get(name), found.get(name)
        if one is None or other is None:
            raise ValueError(f"{name} is {'missing' if other is None else 'not expected'}")
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            raise ValueError(f"{name} is {other.dtype} {other.shape}, expected {one.dtype} {one.shape}")


def pack(arrays: Mapping[str, np.ndarray], identity: Mapping[str, object], random: object) -> bytes:
    """A state as the bytes of a file of safetensors.

    Args:
        arrays: what the state holds, by name.
        identity: whose state it is, as JSON.
        random: state of the generator that samples, as JSON.
    """
    from safetensors.numpy import save as to_bytes  # an agent that runs by onnxruntime acts without

    kept = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    facts = json.dumps({"format_version": FORMAT_VERSION, "identity": identity, "random": random})
    packed: bytes = to_bytes(kept, metadata={"ldm_state": facts, "digest": _digest(kept, facts)})
    return packed


def unpack(data: bytes, identity: Mapping[str, object], name: str) -> tuple[dict[str, np.ndarray], Any]:
    """Reads what `pack` made.

    Args:
        data: the bytes.
        identity: whose state it has to be.
        name: what to call the bytes in messages.

    Returns:
        The arrays, and the state of the generator that samples.

    Raises:
        CheckpointError: if the bytes are damaged, no state of an agent, or that of another agent.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        arrays: dict[str, np.ndarray] = from_bytes(data)
        head = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + head]).get("__metadata__") or {}
        facts = json.loads(metadata["ldm_state"])
        version, saved, random = facts["format_version"], dict(facts["identity"]), facts["random"]
        if metadata["digest"] != _digest(arrays, metadata["ldm_state"]):
            raise ValueError("it has changed since")
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{name} is no state that an agent saved: {error}") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{name} was saved by another version of ldm_hf; act from a new state.")
    for fact, own in identity.items():
        if saved.get(fact) != own:
            raise CheckpointError(
                f"{name} is the state of an agent whose {fact} is {saved.get(fact)!r:.80}, this one's is {own!r:.80}; "
                "make the agent as that one was made."
            )
    return arrays, random


def write(path: str | Path, data: bytes) -> None:
    """Writes the bytes of a state as a file; a crash leaves the file of before or the new one.

    Args:
        path: the file; its folder is made.
        data: from `pack`.

    Raises:
        UnwritableError: if the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".unfinished-{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise UnwritableError(f"the state cannot be written to {path} ({error}); choose a place that can.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def read(path: str | Path) -> bytes:
    """The bytes of a file that `write` wrote.

    Raises:
        CheckpointError: if it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} is no state that an agent saved: {error}") from error


def _digest(arrays: Mapping[str, np.ndarray], facts: str) -> str:
    digest = hashlib.blake2b(facts.encode(), digest_size=16)
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape} ".encode() + arrays[name].tobytes())
    return digest.hexdigest()
