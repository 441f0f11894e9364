"""The errors of ldm_hf. Each message names what failed (environment, leaf, file) and the cure."""

from __future__ import annotations

import reprlib

_shortener = reprlib.Repr()
_shortener.maxstring = _shortener.maxother = _shortener.maxlong = 100


def short(value: object) -> str:
    """A value as a message shows it, however long or deeply nested it is."""
    return _shortener.repr(value)


class LDMError(Exception):
    """Base of every error that a user can cure; the command-line tools print it without a stack trace."""

    # errors survive the way back from a worker process, whatever their constructors take
    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[LDMError], arguments: tuple[object, ...], attributes: dict[str, object]) -> LDMError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(attributes)
    return error


class ArgumentError(LDMError):
    """An argument is not what a call takes; the message says what to pass instead."""


class UnsupportedSpaceError(LDMError):
    """A space contains a leaf that the model cannot read or write (Sequence, Graph, OneOf, ...)."""


class SpaceMismatchError(LDMError):
    """A space differs from the one that was recorded with the data or the model."""


class NotAMemberError(SpaceMismatchError):
    """A value is no member of a leaf.

    Args:
        path: path of the leaf.
        space: space of the leaf.
        value: what was found.
        index: number of the value among those that were given.
    """

    def __init__(self, path: str, space: object, value: object, index: int) -> None:
        kind = f"{type(value).__name__} of shape {value.shape}" if hasattr(value, "shape") else type(value).__name__
        super().__init__(f"leaf '{path or '(root)'}' is {value!r:.200} ({kind}), no member of {space!s:.200}")
        self.index = index


class NonFiniteError(LDMError):
    """NaN or infinity where finite numbers are needed."""


class UnknownEnvironmentError(LDMError):
    """There is no environment of this name in the catalogue or in Gymnasium's registry."""


class MissingExtraError(LDMError):
    """An optional library is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f'{library} is not installed. Install it with: pip install "ldm_hf[{extra}]"')


class NotInstalledError(LDMError):
    """The virtual environment of an isolated library has not been made."""

    def __init__(self, library: str) -> None:
        super().__init__(
            f"{library} has a virtual environment of its own, which is not installed. "
            f"Install it with: ldm envs install {library}"
        )


class InstallationError(LDMError):
    """The virtual environment of an isolated library cannot be made."""


class EnvironmentFailure(LDMError):
    """An environment raised an error of its own, broke Gymnasium's contract, or ended its process.

    Args:
        name: name of the environment.
        call: what failed: make, reset, step, ...
        error: the error, or what was found and how to cure it.
        seed: seed of the episode, if it was in one.
        doing: what the process was doing, if it has ended.
    """

    def __init__(
        self, name: str, call: str, error: BaseException | str, seed: int | None = None, doing: str | None = None
    ) -> None:
        cause = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        place = doing if seed is None else f"episode of seed {seed}"
        super().__init__(f"environment {name} failed in {call}{f' ({place})' if place else ''}: {cause}")
        self.name, self.seed, self.doing = name, seed, doing


class RewardError(EnvironmentFailure, NonFiniteError):
    """An environment gave a reward that is no finite number of 32 bits."""


class NotALanguageModelError(LDMError, NotImplementedError):
    """A method of language models, which makes no sense for a model that chooses actions."""

    def __init__(self, method: str) -> None:
        super().__init__(
            f"`{method}` makes no sense here: an LDM reads steps of an environment and chooses actions, "
            "it has no vocabulary and writes no text; act with LDMAgent."
        )


class UnwritableError(LDMError):
    """A file cannot be written: no space, no right, or something else is in its place."""


class DatasetError(LDMError):
    """A folder is not a trajectory dataset, or one of its files is damaged or does not match."""


class InvalidNameError(DatasetError):
    """A name that cannot be a folder, a config on the Hub and an entry of ``--ids``."""


class CheckpointError(LDMError):
    """A saved model or reference policy cannot be used as it is."""


class ServerError(LDMError):
    """A server of a model cannot do what it was asked for now, has closed the connection, or cannot be reached."""
