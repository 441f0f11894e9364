# Two commands need nothing but Python (3.11 or later), pip, make and git; another Python: make PYTHON=python3.12 ...
#   make quickstart   installs everything into .venv and runs examples/quickstart.py
#   make test         installs everything into .venv and runs the tests
#   make smoke        builds the packages, installs the wheel and lets it play
PYTHON ?= python3.11
TORCH  ?= torch==2.13.0
VENV   := .venv
BIN    := $(VENV)/bin
SMOKE  ?= build/smoke-$(notdir $(PYTHON))

.PHONY: install quickstart smoke test quicktest soak quality style docs clean

install: $(VENV)/.installed

quickstart: $(VENV)/.installed
	$(BIN)/python examples/quickstart.py

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

# the wheel without extras, in an environment of its own
smoke:
	$(PYTHON) -m venv --clear $(SMOKE)
	$(SMOKE)/bin/pip install --quiet --disable-pip-version-check build $(TORCH)
	$(SMOKE)/bin/python -m build --outdir $(SMOKE)/dist .
	$(SMOKE)/bin/pip install --quiet --disable-pip-version-check $(SMOKE)/dist/*.whl
	$(SMOKE)/bin/python tests/smoke.py model_cards/ldm-nano

quicktest: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# hours: everything in larger numbers; the counts that it reached stand in docs/results/robustness.md
soak: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m soak

quality: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed
	$(BIN)/properdocs build --strict

style: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch goes first and alone, so that what is installed after it does not pull in another build.
# Choose another build with: make TORCH="torch --index-url https://download.pytorch.org/whl/cu130" ...
$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip wheel "setuptools<81"
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[all,dev]"
	touch $@

clean:
	rm -rf build dist *.egg-info outputs site
