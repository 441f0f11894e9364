#!/usr/bin/env bash
# How ldm-nano was made: four training runs, then the folder that is published.
#
#   source .venv/bin/activate && bash examples/release_nano.sh
#
# The first run sees the environments of docs/results/nano/first.txt. Three more start from it and see all of train.txt; before each of them, the model
# itself acts where it lags behind (lagging-*.txt) and the reference says what it should have done. Those of held-out.txt are never trained on.
# After an interruption, give the same command again: every line continues where it stopped, and what is finished is not done again.
# The published weights were trained in two processes and by some further commands that docs/LOG.md names: expect the same scores, not identical weights.
set -euo pipefail
cd "$(dirname "$0")/.."

OUT=${OUT:-outputs}
DATA=$OUT/trajectories
LEARNED=model_cards/ldm-reference-policies  # the published ones; `ldm reference --force` trains others
REPO=${REPO:-model_cards/ldm-nano}
MAZES=$(grep ^PointMaze_ docs/results/nano/train.txt)
SHOWN=ALE-Freeway-v5-short,Acrobot-v1,BabyAI-GoToLocalS5N2-v0,BabyAI-GoToRedBall-v0,BabyAI-OpenDoorColor-v0-short,Blackjack-v1,CartPole-v1,CliffWalking-v1-short,FrozenLake8x8-v1,LunarLander-v3-short,LunarLanderContinuous-v3-short,MinAtar-Breakout,MinAtar-Freeway,MinAtar-SpaceInvaders,MountainCar-v0,MountainCarContinuous-v0,Pendulum-v1,Taxi-v4-short,highway-fast-v0,merge-v0-short

ids() { paste -sd, "docs/results/nano/$1.txt"; }
collect() { ldm collect --output "$DATA" --references "$LEARNED" --jobs 2 "$@"; }
evaluate() { ldm evaluate --references "$LEARNED" --jobs 2 "$@"; }
pretrain() {
    [[ -e $1/training.json ]] && return  # finished
    accelerate launch --quiet examples/pretrain.py --batch_size 16 --checkpointing_steps 1000 --resume_from_checkpoint latest --output_dir "$@"
}

# First run: reference policies play, and one model learns 53 environments.
ldm envs install sumo-rl
collect --ids "$(ids train)" --steps-per-env 20000
pretrain "$OUT/ldm-nano-first" --dataset "$DATA" --max_steps 11000 --environments $(cat docs/results/nano/first.txt)

# Second run: all 500 environments; half of the student's steps are the reference's.
evaluate --model "$OUT/ldm-nano-first" --dataset "$DATA" --output "$OUT/ldm-nano-first/results.json"
collect --ids "$(ids lagging-first)" --steps-per-env 30000 --student "$OUT/ldm-nano-first" --mix 0.5
ldm dataset mixture "$DATA" --results "$OUT/ldm-nano-first/results.json" --output "$OUT/ldm-nano-second.yaml"
pretrain "$OUT/ldm-nano-second" --model "$OUT/ldm-nano-first" --dataset "$OUT/ldm-nano-second.yaml" --max_steps 13400 --learning_rate 1.5e-3 --warmup_steps 200

# Third run: the student acts nearly alone.
evaluate --model "$OUT/ldm-nano-second" --dataset "$DATA" --output "$OUT/ldm-nano-second/results.json"
collect --ids "$(ids lagging-second)" --steps-per-env 30000 --student "$OUT/ldm-nano-second" --mix 0.1
ldm dataset mixture "$DATA" --results "$OUT/ldm-nano-second/results.json" --output "$OUT/ldm-nano-third.yaml"
pretrain "$OUT/ldm-nano-third" --model "$OUT/ldm-nano-second" --dataset "$OUT/ldm-nano-third.yaml" --max_steps 7800 --learning_rate 1e-3 --warmup_steps 200

# Mazes need the most: a copy of the model that is trained in them alone acts there, too.
collect --ids "$(paste -sd, <<< "$MAZES")" --steps-per-env 50000 --student "$OUT/ldm-nano-third" --mix 0.1
pretrain "$OUT/ldm-nano-mazes" --model "$OUT/ldm-nano-third" --dataset "$DATA" --max_steps 700 --learning_rate 1e-3 --warmup_steps 50 --environments $MAZES
collect --ids "$(paste -sd, <<< "$MAZES")" --steps-per-env 80000 --student "$OUT/ldm-nano-mazes" --mix 0.1

# Fourth run: mazes six times as often.
evaluate --model "$OUT/ldm-nano-third" --dataset "$DATA" --output "$OUT/ldm-nano-third/results.json"
collect --ids "$(ids lagging-third)" --steps-per-env 40000 --student "$OUT/ldm-nano-third" --mix 0.1
ldm dataset mixture "$DATA" --results "$OUT/ldm-nano-third/results.json" --output "$OUT/ldm-nano.yaml" --factor 'PointMaze_*=6'
pretrain "$OUT/ldm-nano" --model "$OUT/ldm-nano-third" --dataset "$OUT/ldm-nano.yaml" --max_steps 5650 --learning_rate 1e-3 --warmup_steps 200

# The published folder: rounded weights, their scores, also in environments held out, videos, and the card.
ldm export --model "$OUT/ldm-nano" --output "$REPO"
evaluate --model "$REPO" --num-envs 20 --dataset "$DATA" --output "$REPO/results.json"
evaluate --model "$REPO" --num-envs 20 --ids "$(ids held-out)" --output "$REPO/results-unseen.json"
python benchmarks/unseen.py --model "$REPO" --ids "$(ids held-out)" --dataset "$DATA" --jobs 2 --json docs/results/nano/unseen.json
ldm play --model "$REPO" --env "$SHOWN" --video "$REPO/replay.mp4"
ldm card "$REPO"
