"""JAT's side of `contender.Jat`: takes a step for every line that it reads. Runs in JAT's own virtual environment."""

import importlib
import sys
import types

import numpy as np
import torch
from gymnasium import spaces
from tokenizers import Tokenizer, models
from transformers import CLIPImageProcessor, PreTrainedTokenizerFast


def stand_in_for_torchvision() -> None:
    """Replaces torchvision, if missing or built for another torch, by the only function of it that JAT calls."""
    names = ["torchvision", "torchvision.transforms", "torchvision.transforms.functional"]
    try:
        importlib.import_module(names[-1])
        return
    except (ImportError, RuntimeError):
        pass
    for name in names:
        sys.modules[name] = types.ModuleType(name)
    sys.modules[names[1]].functional = sys.modules[names[2]]
    sys.modules[names[2]].to_tensor = lambda image: (
        torch.from_numpy(image.transpose(2, 0, 1)).contiguous().float() / 255
    )


def main() -> None:
    checkout, hidden, layers, window, threads, device = sys.argv[1], *map(int, sys.argv[2:6]), sys.argv[6]
    stand_in_for_torchvision()
    sys.path.insert(0, checkout)
    from jat import JatConfig, JatModel
    from jat.processing_jat import JatProcessor

    answer, sys.stdout = sys.stdout, sys.stderr  # JAT's libraries print, too
    torch.set_num_threads(threads)
    tokens = 2 * window
    config = JatConfig(
        hidden_size=hidden,
        num_layers=layers,
        num_heads=hidden // 64,
        attention_types=[[["global"], layers]],
        max_position_embeddings=tokens + 4,  # a step appends four tokens to what it keeps
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"?": 0}, unk_token="?")))
    processor = JatProcessor(CLIPImageProcessor(), tokenizer)
    rng = np.random.default_rng(0)
    # sizes of HalfCheetah and Atari
    cases = {
        "vectors": ({"continuous_observation": rng.normal(size=17)}, spaces.Box(-1, 1, (6,))),
        "images": ({"image_observation": rng.integers(0, 256, (84, 84, 4), np.uint8)}, spaces.Discrete(18)),
    }
    torch.manual_seed(0)
    contenders = {kind: JatModel(config).to(device).eval() for kind in cases}  # two, since a model holds one history

    def step(kind: str) -> None:
        observation, action_space = cases[kind]
        contenders[kind].get_next_action(
            processor, **observation, reward=0.0, action_space=action_space, context_window=tokens
        )

    for kind, model in contenders.items():
        model.reset_rl()
        for _ in range(window + 1):
            step(kind)
        assert model._last_key_values[0][0].shape[2] == tokens, "the window is not full"
    print("ready", file=answer, flush=True)
    for line in sys.stdin:
        step(line.strip())
        print("done", file=answer, flush=True)


if __name__ == "__main__":
    main()
