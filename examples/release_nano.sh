#!/usr/bin/env bash
# How a model like ldm-nano is made, and the folder that is published.
#
#   source .venv/bin/activate && bash examples/release_nano.sh
#
# After an interruption, give the same command again: every line continues where it stopped, and what is finished is not done again.
# The environments of held-out.txt are never trained on. The published weights came of four rounds by hand (docs/results.md, "What it cost").
set -euo pipefail
cd "$(dirname "$0")/.."

OUT=${OUT:-outputs}
REPO=${REPO:-model_cards/ldm-nano}
LEARNED=model_cards/ldm-reference-policies  # the published ones; `ldm reference --force` trains others
SHOWN=ALE-Freeway-v5-short,Acrobot-v1,BabyAI-GoToLocalS5N2-v0,BabyAI-GoToRedBall-v0,BabyAI-OpenDoorColor-v0-short,Blackjack-v1,CartPole-v1,CliffWalking-v1-short,FrozenLake8x8-v1,LunarLander-v3-short,LunarLanderContinuous-v3-short,MinAtar-Breakout,MinAtar-Freeway,MinAtar-SpaceInvaders,MountainCar-v0,MountainCarContinuous-v0,Pendulum-v1,Taxi-v4-short,highway-fast-v0,merge-v0-short
ids() { paste -sd, "docs/results/nano/$1.txt"; }

# Reference policies play, a model learns from them, acts itself, learns from that, and so on; the best weights stay.
ldm envs install sumo-rl
ldm collect --ids "$(ids train)" --output "$OUT/trajectories" --references "$LEARNED" --jobs 2
[[ -e $OUT/first/training.json ]] || accelerate launch --quiet examples/pretrain.py --dataset "$OUT/trajectories" --output_dir "$OUT/first" --batch_size 16 --max_steps 20000 --resume_from_checkpoint latest
BEST=$(ldm improve --model "$OUT/first" --dataset "$OUT/trajectories" --output "$OUT/improved" --rounds 3 --minutes 90 --references "$LEARNED" --jobs 2 | tee /dev/stderr | tail -n 1)

# The published folder: rounded weights, their scores, also in environments held out, a video, and the card.
ldm export --model "$BEST" --output "$REPO"
ldm evaluate --model "$REPO" --num-envs 20 --references "$LEARNED" --jobs 2 --dataset "$OUT/trajectories" --output "$REPO/results.json"
ldm evaluate --model "$REPO" --num-envs 20 --references "$LEARNED" --jobs 2 --ids "$(ids held-out)" --output "$REPO/results-unseen.json"
python benchmarks/unseen.py --model "$REPO" --ids "$(ids held-out)" --dataset "$OUT/trajectories" --jobs 2 --json docs/results/nano/unseen.json
ldm play --model "$REPO" --env "$SHOWN" --video "$REPO/replay.mp4"
ldm card "$REPO"
