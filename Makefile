# Two commands need nothing but Python 3.11, pip, make and git:
#   make quickstart   installs everything into .venv and runs examples/quickstart.py
#   make test         the same for the tests
PYTHON ?= python3.11
TORCH  ?= torch==2.13.0
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: quickstart test quicktest quality style docs references trajectories ldm-nano release-nano clean

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

# --- the published run: one model for the whole catalogue; each stage continues where it was interrupted

NANO  = $(shell paste -sd, docs/results/ldm-nano-environments.txt)
SHOWN = ALE-Freeway-v5,Acrobot-v1,BabyAI-GoToLocalS5N2-v0,BabyAI-GoToRedBall-v0,BabyAI-OpenDoorColor-v0,Blackjack-v1,CartPole-v1,CliffWalking-v1,FrozenLake8x8-v1,LunarLander-v3,LunarLanderContinuous-v3,MinAtar-Breakout,MinAtar-Freeway,MinAtar-SpaceInvaders,MountainCar-v0,MountainCarContinuous-v0,Pendulum-v1,Taxi-v4,highway-fast-v0,merge-v0

references: $(VENV)/.installed
	$(BIN)/ldm reference --ids $(NANO) --references outputs/references --jobs 2 --budget 10m

trajectories: references
	$(BIN)/ldm collect --ids $(NANO) --output outputs/trajectories --references outputs/references --steps-per-env 20000 --jobs 2

ldm-nano: trajectories
	$(BIN)/accelerate launch --quiet examples/pretrain.py --dataset outputs/trajectories --output_dir outputs/ldm-nano \
		--max_steps 11000 --batch_size 16 --checkpointing_steps 1000 --resume_from_checkpoint latest

# the repo of the model, as it is sent to the Hub: rounded weights, their scores, the model at play, the card
REPO := model_cards/ldm-nano
EVALUATE = $(BIN)/python examples/evaluate.py --model $(REPO) --dataset outputs/trajectories --jobs 2

release-nano: ldm-nano
	$(BIN)/ldm export --model outputs/ldm-nano --output $(REPO)
	$(EVALUATE) --output $(REPO)/results.json
	$(EVALUATE) --incognito --output $(REPO)/results-incognito.json
	$(BIN)/ldm play --model $(REPO) --env $(SHOWN) --video $(REPO)/replay.mp4
	$(BIN)/ldm card $(REPO)

clean:
	rm -rf build dist *.egg-info outputs
