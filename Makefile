# Two commands need nothing but Python 3.11, pip, make and git:
#   make quickstart   installs everything into .venv and runs examples/quickstart.py
#   make test         the same for the tests
PYTHON ?= python3.11
TORCH  ?= torch==2.13.0
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: quickstart test quicktest quality style docs trajectories ldm-nano-first ldm-nano release-nano clean

quickstart: $(VENV)/.installed
	$(BIN)/python examples/quickstart.py

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2

quicktest: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 -m "not slow"

quality: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed
	$(BIN)/properdocs build --strict

style: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch goes first and alone: whatever is installed after it is content with it and pulls in no other build.
# Choose another build with: make TORCH="torch --index-url https://download.pytorch.org/whl/cu130" ...
$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip wheel "setuptools<81"
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[all,dev]"
	touch $@

# --- the published model; each stage continues where it was interrupted
# Two runs: one on the environments of first.txt, one that goes on from it on all of train.txt. Those of held-out.txt are never trained on.

COMMA := ,
names = $(shell paste -sd, docs/results/nano/$(1).txt)
SHOWN = ALE-Freeway-v5,Acrobot-v1,BabyAI-GoToLocalS5N2-v0,BabyAI-GoToRedBall-v0,BabyAI-OpenDoorColor-v0,Blackjack-v1,CartPole-v1,CliffWalking-v1,FrozenLake8x8-v1,LunarLander-v3,LunarLanderContinuous-v3,MinAtar-Breakout,MinAtar-Freeway,MinAtar-SpaceInvaders,MountainCar-v0,MountainCarContinuous-v0,Pendulum-v1,Taxi-v4,highway-fast-v0,merge-v0
# the learned references are those that are published; `ldm reference --force` trains others
LEARNED := model_cards/ldm-reference-policies
DATA    := outputs/trajectories
PRETRAIN = $(BIN)/accelerate launch --quiet examples/pretrain.py --batch_size 16 --checkpointing_steps 1000 --resume_from_checkpoint latest

trajectories: $(VENV)/.installed
	$(BIN)/ldm collect --ids $(call names,train) --output $(DATA) --references $(LEARNED) --steps-per-env 20000 --jobs 2

ldm-nano-first: trajectories
	$(PRETRAIN) --dataset $(DATA) --environments $(subst $(COMMA), ,$(call names,first)) --output_dir outputs/ldm-nano-first --max_steps 11000

# What the first run does not master is drawn more often in the second one; where it lags most (lagging.txt), it acts itself and the reference says what
# it should have done.
ldm-nano: ldm-nano-first
	$(BIN)/ldm evaluate --model outputs/ldm-nano-first --dataset $(DATA) --references $(LEARNED) --jobs 2 --output outputs/ldm-nano-first/results.json
	$(BIN)/ldm collect --ids $(call names,lagging) --output $(DATA) --references $(LEARNED) --steps-per-env 30000 --behaviour outputs/ldm-nano-first --jobs 2
	$(BIN)/ldm dataset mixture $(DATA) --results outputs/ldm-nano-first/results.json --output outputs/gap.yaml
	$(PRETRAIN) --dataset outputs/gap.yaml --model outputs/ldm-nano-first --output_dir outputs/ldm-nano --max_steps 13400 --learning_rate 1.5e-3 --warmup_steps 200

# the repo of the model, as it is sent to the Hub: rounded weights, their scores, the model at play, the card
REPO := model_cards/ldm-nano
EVALUATE = $(BIN)/python examples/evaluate.py --model $(REPO) --jobs 2 --num-envs 20 --references $(LEARNED)

release-nano: ldm-nano
	$(BIN)/ldm export --model outputs/ldm-nano --output $(REPO)
	$(EVALUATE) --dataset $(DATA) --output $(REPO)/results.json
	$(EVALUATE) --dataset $(DATA) --incognito --output $(REPO)/results-incognito.json
	$(EVALUATE) --ids $(call names,held-out) --output $(REPO)/results-unseen.json
	$(BIN)/python benchmarks/unseen.py --model $(REPO) --ids $(call names,held-out) --dataset $(DATA) --jobs 2 --json docs/results/nano/unseen.json
	$(BIN)/ldm play --model $(REPO) --env $(SHOWN) --video $(REPO)/replay.mp4
	$(BIN)/ldm card $(REPO)

clean:
	rm -rf build dist *.egg-info outputs
