# Two commands need nothing but Python 3.11, pip, make and git:
#   make quickstart   installs everything into .venv and runs examples/quickstart.py
#   make test         the same for the tests
PYTHON ?= python3.11
TORCH  ?= torch==2.13.0
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: quickstart test quicktest quality style docs trajectories ldm-nano-first ldm-nano-second ldm-nano-third ldm-nano-mazes ldm-nano release-nano clean

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
# Four runs: one on the environments of first.txt, three that go on from it on all of train.txt. Those of held-out.txt are never trained on.

COMMA := ,
names = $(shell paste -sd, docs/results/nano/$(1).txt)
SHOWN = ALE-Freeway-v5,Acrobot-v1,BabyAI-GoToLocalS5N2-v0,BabyAI-GoToRedBall-v0,BabyAI-OpenDoorColor-v0,Blackjack-v1,CartPole-v1,CliffWalking-v1,FrozenLake8x8-v1,LunarLander-v3,LunarLanderContinuous-v3,MinAtar-Breakout,MinAtar-Freeway,MinAtar-SpaceInvaders,MountainCar-v0,MountainCarContinuous-v0,Pendulum-v1,Taxi-v4,highway-fast-v0,merge-v0
# the learned references are those that are published; `ldm reference --force` trains others
LEARNED := model_cards/ldm-reference-policies
DATA    := outputs/trajectories
COLLECT = $(BIN)/ldm collect --output $(DATA) --references $(LEARNED) --jobs 2
PRETRAIN = $(BIN)/accelerate launch --quiet examples/pretrain.py --batch_size 16 --checkpointing_steps 1000 --resume_from_checkpoint latest

trajectories: $(VENV)/.installed
	$(BIN)/ldm envs install sumo-rl
	$(COLLECT) --ids $(call names,train) --steps-per-env 20000

ldm-nano-first: trajectories
	$(PRETRAIN) --dataset $(DATA) --environments $(subst $(COMMA), ,$(call names,first)) --output_dir outputs/ldm-nano-first --max_steps 11000

# A further run goes on from a former one. What that does not master is drawn more often; where it lags, it acts itself and the reference says what it
# should have done. $(call further,FORMER,OUTPUT,FILE OF WHERE IT LAGS,STEPS THERE AFTERWARDS,PROBABILITY THAT THE REFERENCE ACTS,OPTIONS OF THE MIXTURE,OF TRAINING)
define further
	$(BIN)/ldm evaluate --model outputs/$(1) --dataset $(DATA) --references $(LEARNED) --jobs 2 --output outputs/$(1)/results.json
	$(COLLECT) --ids $(call names,$(3)) --steps-per-env $(4) --behaviour outputs/$(1) --mix $(5)
	$(BIN)/ldm dataset mixture $(DATA) --results outputs/$(1)/results.json --output outputs/$(2).yaml $(6)
	$(PRETRAIN) --dataset outputs/$(2).yaml --model outputs/$(1) --output_dir outputs/$(2) --warmup_steps 200 $(7)
endef

ldm-nano-second: ldm-nano-first
	$(call further,ldm-nano-first,ldm-nano-second,lagging-first,30000,0.5,,--max_steps 13400 --learning_rate 1.5e-3)

ldm-nano-third: ldm-nano-second
	$(call further,ldm-nano-second,ldm-nano-third,lagging-second,30000,0.1,,--max_steps 7800 --learning_rate 1e-3)

# A ball in a maze needs the most: a copy of the model that is trained there only acts there, too.
MAZES := $(filter PointMaze_%,$(shell cat docs/results/nano/train.txt))
ldm-nano-mazes: ldm-nano-third
	$(COLLECT) --ids $(subst $() ,$(COMMA),$(MAZES)) --steps-per-env 50000 --behaviour outputs/ldm-nano-third --mix 0.1
	$(PRETRAIN) --dataset $(DATA) --environments $(MAZES) --model outputs/ldm-nano-third --output_dir outputs/ldm-nano-mazes --warmup_steps 50 --max_steps 700 --learning_rate 1e-3
	$(COLLECT) --ids $(subst $() ,$(COMMA),$(MAZES)) --steps-per-env 80000 --behaviour outputs/ldm-nano-mazes --mix 0.1

ldm-nano: ldm-nano-mazes
	$(call further,ldm-nano-third,ldm-nano,lagging-third,40000,0.1,--factor 'PointMaze_*=6',--max_steps 5650 --learning_rate 1e-3)

# the repo of the model, as it is sent to the Hub: rounded weights, their scores, the model at play, the card
REPO := model_cards/ldm-nano
EVALUATE = $(BIN)/python examples/evaluate.py --model $(REPO) --jobs 2 --num-envs 20 --references $(LEARNED)

release-nano: ldm-nano
	$(BIN)/ldm export --model outputs/ldm-nano --output $(REPO)
	$(EVALUATE) --dataset $(DATA) --output $(REPO)/results.json
	$(EVALUATE) --ids $(call names,held-out) --output $(REPO)/results-unseen.json
	$(BIN)/python benchmarks/unseen.py --model $(REPO) --ids $(call names,held-out) --dataset $(DATA) --jobs 2 --json docs/results/nano/unseen.json
	$(BIN)/ldm play --model $(REPO) --env $(SHOWN) --video $(REPO)/replay.mp4
	$(BIN)/ldm card $(REPO)

clean:
	rm -rf build dist *.egg-info outputs
