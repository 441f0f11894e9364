"""Who is there: each visitor's game, how many there may be, and when those who are silent have to go."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..environments.knobs import Knob, Path
from ..environments.specs import EnvironmentSpec
from ..errors import LDMError, ServerError
from .playing import Game
from .sharing import SharedModel
from .stage import SEED

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

logger = logging.getLogger(__name__)

EPISODES = 10_000  # seeds between those of two games
LONGEST = 1800.0  # seconds of a game: others want to watch, too


class Visitors:
    """The games of all visitors, by a name that each has. Its methods are for any thread.

    Args:
        model: the model of all.
        references: folder of trained reference policies.
        limit: games at a time.
        idle: seconds after which a game is ended that nobody looks at.
        context: how processes are started.
    """

    def __init__(
        self,
        model: SharedModel,
        references: str,
        limit: int = 20,
        idle: float = 120.0,
        context: ForkServerContext | None = None,
    ) -> None:
        self.model, self.references, self.limit, self.idle = model, references, limit, idle
        self._context, self._lock, self._stopped = context, threading.Lock(), threading.Event()
        self._games: dict[str, Game | None] = {}  # None: it is being made
        self._numbers = itertools.count()
        self._sweeper = threading.Thread(target=self._sweep, name="ldm-demo-visitors", daemon=True)
        self._sweeper.start()

    def __len__(self) -> int:
        return len(self._games)

    def begin(
        self,
        visitor: str,
        row: EnvironmentSpec,
        values: Mapping[Path, float] | None = None,
        knobs: list[Knob] | None = None,
    ) -> Game:
        """Begins a game in the place of the one that the visitor has, if any.

        Args:
            visitor: name of the visitor.
            row: row of the catalogue.
            values: new values of what the world lets change, by path.
            knobs: what it lets change, from a game in the unchanged world.

        Raises:
            LDMError: if it cannot be played, or there are too many visitors.
        """
        with self._lock:
            if visitor not in self._games and len(self._games) >= self.limit:
                raise ServerError(f"{self.limit} visitors are watching, which is all that fit; try again in a minute.")
            old, self._games[visitor] = self._games.get(visitor), None
            number = next(self._numbers)
        try:
            if old is not None:
                old.close()
            game = Game(self.model, row, self.references, values, knobs, SEED + EPISODES * number, self._context)
        except BaseException:
            self._forget(visitor, None)
            raise
        with self._lock:
            if visitor in self._games and self._games[visitor] is None:
                self._games[visitor] = game
                return game
        game.close()  # the visitor has left, or begun another one meanwhile
        raise LDMError(f"{row.name} was left before it began.")

    def game(self, visitor: str) -> Game | None:
        """The visitor's game; None if there is none."""
        return self._games.get(visitor)

    def leave(self, visitor: str) -> None:
        """Ends the visitor's game, if there is one."""
        with self._lock:
            game = self._games.pop(visitor, None)
        if game is not None:
            game.close()

    def tell(self, environment: str, error: LDMError) -> None:
        """Writes one line to the log of what went wrong for a visitor."""
        logger.warning("%s: %s", environment, f"{error!s:.1000}".replace("\n", " "))

    def close(self) -> None:
        """Ends all games."""
        self._stopped.set()
        for visitor in list(self._games):
            self.leave(visitor)
        self._sweeper.join()

    def _forget(self, visitor: str, game: Game | None) -> None:
        with self._lock:
            if self._games.get(visitor, self) is game:
                del self._games[visitor]

    def _sweep(self) -> None:
        while not self._stopped.wait(min(1.0, self.idle / 4)):
            now = time.monotonic()
            for visitor, game in list(self._games.items()):
                if game is None:
                    continue
                if now - game.used > self.idle:
                    game.farewell = f"{game.row.name} was ended after {self.idle:g} seconds of rest; press Play."
                elif now - game.begun > LONGEST:
                    game.farewell = f"{game.row.name} was ended after {LONGEST / 60:g} minutes; press Play for more."
                elif not game.closed:
                    continue
                logger.info("%s", game.farewell or f"{game.row.name} is over")
                self._forget(visitor, game)
                game.close()
