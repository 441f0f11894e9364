"""An OpenEnv server with a corridor in it: ``python openenv_server.py PORT``, where openenv-core is installed."""

import random
import sys
from typing import Literal

import uvicorn
from openenv.core import Action, Environment, Observation, State, create_fastapi_app
from pydantic import Field


class Move(Action):
    direction: Literal["left", "stay", "right"]
    force: float = Field(ge=0, le=1)
    note: str | None = Field(default=None, max_length=5)
    remark: str = ""
    options: dict = Field(default_factory=dict)


class View(Observation):
    place: int = Field(ge=-5, le=5)
    goal: Literal["west", "east"]
    distances: list[float]
    says: str = ""


class Corridor(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def view(self, reward=None, done=False, says="hello"):
        distances = [float(self.place + 5), float(5 - self.place)]
        return View(place=self.place, goal=self.goal, distances=distances, says=says, reward=reward, done=done)

    def reset(self, seed=None, episode_id=None, **options):
        self.goal = random.Random(seed).choice(["west", "east"])
        self.place = options.get("place", 0)
        return self.view()

    def step(self, action, timeout_s=None, **options):
        if action.note == "crash":
            raise ValueError("the ceiling comes down")
        self.place += {"left": -1, "stay": 0, "right": 1}[action.direction] if action.force >= 0.5 else 0
        won = self.place == {"west": -5, "east": 5}[self.goal]
        return self.view(1.0 if won else -0.1, abs(self.place) == 5, f"{action.direction} {action.force:.2f}")

    @property
    def state(self):
        return State()


if __name__ == "__main__":
    app = create_fastapi_app(Corridor, Move, View, max_concurrent_envs=4)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
