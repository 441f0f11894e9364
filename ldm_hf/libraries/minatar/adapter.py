"""What keeps MinAtar reproducible."""

from __future__ import annotations

from typing import Any

import gymnasium


class ForgetLastAction(gymnasium.Wrapper):
    """MinAtar repeats actions now and then, in the first step of an episode the last one of the episode before: no seed would tell which."""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.unwrapped.game.last_action = 0  # type: ignore[attr-defined]
        return self.env.reset(**kwargs)
