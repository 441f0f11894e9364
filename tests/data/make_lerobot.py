"""Writes the LeRobotDatasets beside this file with LeRobot's own writer (lerobot 0.4.4); the tests read what it left.

    pip install lerobot==0.4.4 && python tests/data/make_lerobot.py

Everything is a function of episode and frame, so that the tests know what has to come out.
"""

import shutil
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

HERE = Path(__file__).parent
LENGTHS = (7, 4, 6)
TASKS = ("Push the block.", "Lift the cup.")
VECTOR = {"dtype": "float32", "shape": (2,), "names": ["x", "y"]}


def shade(episode: int, frame: int) -> int:
    """Of all pixels of a picture."""
    return 60 + 50 * episode + 10 * frame


def write(name: str, camera: str, features: dict, tasks: tuple[str, ...]) -> None:
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    picture = {"dtype": camera, "shape": (48, 64, 3), "names": ["height", "width", "channels"]}
    vectors = {"observation.state": VECTOR, "action": VECTOR}
    dataset = LeRobotDataset.create(
        f"someone/{name}",
        fps=10,
        root=folder,
        features=vectors | {"observation.images.top": picture} | features,
        use_videos=camera == "video",
    )
    for episode, length in enumerate(LENGTHS):
        for frame in range(length):
            extra = {}
            if "next.reward" in features:
                extra = {
                    "next.reward": np.array([episode + frame / 10], np.float32),
                    "next.done": np.array([frame == length - 1 and episode != 1]),
                }
            dataset.add_frame(
                {
                    "observation.state": np.array([episode, frame], np.float32),
                    "action": np.array([episode / 2, -frame], np.float32),
                    "observation.images.top": np.full((48, 64, 3), shade(episode, frame), np.uint8),
                    "task": tasks[episode % len(tasks)],
                    **extra,
                }
            )
        dataset.save_episode()
    dataset.finalize()
    shutil.rmtree(folder / "images", ignore_errors=True)


if __name__ == "__main__":
    scalar = {"shape": (1,), "names": None}
    write(
        "lerobot_video",
        "video",
        {"next.reward": {"dtype": "float32", **scalar}, "next.done": {"dtype": "bool", **scalar}},
        TASKS[:1],
    )
    write("lerobot_images", "image", {}, TASKS)
