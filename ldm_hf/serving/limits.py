"""What a server takes at most."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ArgumentError


@dataclass(frozen=True)
class Limits:
    """What a server takes at most. Memory is bounded by them: a client has one request under way at a time.

    Args:
        clients: streams that may be open.
        lanes: lanes of all streams together.
        message: bytes of one message.
        idle: seconds after which a stream is closed that nobody has used.
        stalled: seconds that a client may take to read an answer.
        elements: scalars of an action.
        wait: seconds that a step waits for those of others, to share their pass.

    Raises:
        ArgumentError: if one is not above 0 (``wait`` may be 0).
    """

    clients: int = 256
    lanes: int = 1024
    message: int = 2**23
    idle: float = 300.0
    stalled: float = 30.0
    elements: int = 4096
    wait: float = 0.002

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0 or (value == 0 and name != "wait"):
                raise ArgumentError(f"the limit of {name} is {value}; it must be above 0")
