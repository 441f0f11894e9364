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


class UnsupportedSpaceError(LDMError):
    """A space contains a leaf that the model cannot read or write (Sequence, Graph, OneOf, ...)."""


class SpaceMismatchError(LDMError):
    """A space differs from the one that was recorded with the data or the model."""


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
    """An environment raised an error of its own in make, reset or step."""

    def __init__(self, name: str, call: str, error: BaseException | str) -> None:
        cause = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        super().__init__(f"environment {name} failed in {call}: {cause}")
        self.name = name


class UnwritableError(LDMError):
    """A file cannot be written: no space, no right, or something else is in its place."""


class DatasetError(LDMError):
    """A folder is not a trajectory dataset, or one of its files is damaged or does not match."""


class InvalidNameError(DatasetError):
    """A name that cannot be a folder, a config on the Hub and an entry of ``--ids``."""


class CheckpointError(LDMError):
    """A saved model or reference policy cannot be used as it is."""
