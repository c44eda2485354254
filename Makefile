# make study   the study of one profile: notebooks executed, report written (PROFILE=tiny by default; WORLDS=4: in as many worlds)
# make test    all tests, also of the extras faces and onnx, which it installs (250 MB)
# make lab     JupyterLab on the notebooks
# make paper   Tables 1 to 5 and Figures 1 to 4 of a finished study, as LaTeX and, where pdflatex is there, on one page
# make test-browser   every notebook in JupyterLab and the explorer, in Chromium (CHROMIUM=path); screenshots/ shows them
# make faults  kills, flipped bits, damaged lists and score files for five minutes (MINUTES=5); prints its seed
# make gpu     on a machine with a GPU: its tests, benchmarks, and as much of profile gpu as MINUTES (12) allow
# Each sets up what it needs in .venv first; nothing but Python 3.11 or newer, pip and make is needed.

PYTHON ?= python3
PROFILE ?= tiny
GPU ?= --device cuda --profile gpu
BIN := .venv/bin
# compiled at once; pip would take half of its time to compile thousands of files that nothing here imports
COMPILED := fasnb.command.main, fasnb.command.study, ipykernel.kernelapp, sklearn.linear_model, seaborn, torchvision, pytest, nbval
CHROMIUM ?= $(firstword $(foreach name,chromium chromium-browser google-chrome,$(shell command -v $(name))))

.PHONY: study test test-browser lab paper faults gpu setup clean

study: setup
	$(BIN)/fasnb run --profile $(PROFILE)$(if $(WORLDS), --set worlds=$(WORLDS))

test: setup
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e ".[faces,onnx]"
	$(BIN)/ruff check .
	$(BIN)/pytest
	FASNB_PUBLISHED=1 $(BIN)/pytest -p no:cacheprovider --nbval-lax --nbval-current-env --nbval-cell-timeout 600 results/published/tiny/notebooks

test-browser: setup
ifeq ($(CHROMIUM),)
	@echo "no Chromium here, so that nothing is tested in a browser; on Debian: apt-get install chromium"
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[browser]"
	FASNB_BROWSER=1 CHROMIUM="$(CHROMIUM)" $(BIN)/pytest tests/test_browser.py
endif

lab: setup
	$(BIN)/jupyter lab notebooks

paper: setup
	$(BIN)/fasnb paper --profile $(PROFILE)

faults: setup
	$(BIN)/python benchmarks/faults.py --minutes $(or $(MINUTES),5)

gpu: setup
	$(BIN)/python benchmarks/gpu.py $(GPU) --minutes $(or $(MINUTES),12)

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fasnb needs Python 3.11 or newer; make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e ".[test]"
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -c 'import $(COMPILED)'
	touch $@

clean:
	rm -rf .venv fasnb.egg-info
