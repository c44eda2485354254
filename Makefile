# make study   the study of one profile: notebooks executed, report written (PROFILE=tiny by default)
# make test    all tests
# make lab     JupyterLab on the notebooks
# make gpu     on a machine with a GPU: its tests, benchmarks, and as much of profile gpu as MINUTES (120) allow
# make fuzz    damaged lists, profiles and score files for five minutes (MINUTES=5); prints its seed
# Each sets up what it needs in .venv first; nothing but Python 3.11 or newer, pip and make is needed.

PYTHON ?= python3
PROFILE ?= tiny
MINUTES ?= 5
GPU ?= --device cuda --profile gpu
BIN := .venv/bin

.PHONY: study test lab gpu fuzz setup clean

study: setup
	$(BIN)/fasnb run --profile $(PROFILE)

test: setup
	$(BIN)/ruff check .
	$(BIN)/pytest
	FASNB_PUBLISHED=1 $(BIN)/pytest -p no:cacheprovider --nbval-lax --nbval-current-env --nbval-cell-timeout 600 results/published/tiny/notebooks

lab: setup
	$(BIN)/jupyter lab notebooks

gpu: MINUTES = 120
gpu: setup
	$(BIN)/python benchmarks/gpu.py $(GPU) --minutes $(MINUTES)

fuzz: setup
	$(BIN)/python benchmarks/fuzz.py --minutes $(MINUTES)

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fasnb needs Python 3.11 or newer; make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

clean:
	rm -rf .venv fasnb.egg-info
