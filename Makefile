# Two commands need nothing but Python 3.11, pip, make and git:
#   make quickstart   installs everything into .venv and runs examples/quickstart.py
#   make test         the same for the tests
PYTHON ?= python3.11
TORCH  ?= torch==2.13.0
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: quickstart test quicktest quality style docs references trajectories ldm-nano results clean

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

NANO = $(shell paste -sd, docs/results/ldm-nano-environments.txt)

references: $(VENV)/.installed
	$(BIN)/ldm reference --ids $(NANO) --references outputs/references --jobs 2

trajectories: references
	$(BIN)/ldm collect --ids $(NANO) --output outputs/trajectories --references outputs/references --steps-per-env 20000 --jobs 2

ldm-nano: trajectories
	$(BIN)/accelerate launch --quiet examples/pretrain.py --dataset outputs/trajectories --output_dir outputs/ldm-nano \
		--max_steps 11000 --batch_size 16 --checkpointing_steps 1000 --resume_from_checkpoint latest

results: ldm-nano
	$(BIN)/python examples/evaluate.py --model outputs/ldm-nano --dataset outputs/trajectories --jobs 2 --output docs/results/ldm-nano.json

clean:
	rm -rf build dist *.egg-info outputs
