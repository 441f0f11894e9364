"""Process groups: a process and all that it has started. Windows has none; there, the process alone is ended."""

from __future__ import annotations

import os
import signal


def lead_group() -> None:
    """Makes this process the first of a group of its own, which the processes that it starts belong to."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)


def kill_group(leader: int) -> None:
    """Ends the processes of a group at once.

    Args:
        leader: id of the process that has called `lead_group`.

    Raises:
        OSError: if there is no such group.
    """
    if hasattr(os, "killpg"):
        os.killpg(leader, signal.SIGKILL)
    else:
        os.kill(leader, signal.SIGTERM)  # no signal there: the process ends at once
