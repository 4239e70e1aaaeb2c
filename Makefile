# Each target sets up .venv by itself: `make demo` and `make test` need Python ≥ 3.11 and nothing else.

PYTHON  ?= python3
VENV    ?= .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test peers proofs graders lint types coverage notebooks notebooks-check lab bench check-gpu clean
.DEFAULT_GOAL := demo

# One stamp per set of extras, so a second `make test` installs nothing.
$(VENV)/.%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -e ".[$*]"
	touch $@

demo: $(VENV)/.demo                     ## verify everything, train both networks, write build/demo/index.html
	$(BIN)/visattn demo

test: $(VENV)/.test                     ## the tests, without torch or any other peer
	$(BIN)/python -m pytest -n auto

peers: $(VENV)/.test $(VENV)/.peers     ## agreement with torch, torchvision, timm, keras and jax
	$(BIN)/python -m pytest -m peers -n auto

proofs: $(VENV)/.test $(VENV)/.proofs   ## the GPU kernels, proved without a GPU; needs g++
	$(BIN)/python -m pytest -m proofs tests/gpu -n auto --dist loadfile

graders: $(VENV)/.test $(VENV)/.graders ## assignments in nbgrader, in otter, on a Dask cluster, and in JupyterLab where there is Chromium
	$(BIN)/python -m pytest -m graders tests/graders tests/assignment -n auto

lint: $(VENV)/.dev                      ## ruff
	$(BIN)/ruff check .

types: $(VENV)/.dev                     ## mypy over the public surface
	$(BIN)/mypy

coverage: $(VENV)/.coverage             ## which lines the tests reach
	$(BIN)/python -m pytest -n auto --cov --cov-report=term-missing:skip-covered

notebooks: $(VENV)/.notebooks           ## build and execute the notebooks from the lessons
	$(BIN)/python lessons/build.py

notebooks-check: $(VENV)/.notebooks     ## are the notebooks current, and do they run?  writes nothing
	$(BIN)/python lessons/build.py --check

lab: $(VENV)/.notebooks                 ## open a workspace of your own: the notebooks, and exercises to hand in
	$(BIN)/visattn assignment lab workspace
	$(BIN)/jupyter lab workspace

bench: $(VENV)/.test $(VENV)/.peers     ## speed, as ratios to torch taken in one run
	$(BIN)/python benchmarks/run.py

check-gpu: $(VENV)/.test $(VENV)/.gpu $(VENV)/.proofs      ## on a machine with a GPU: are the kernels right, how fast
	$(BIN)/python benchmarks/gpu.py

clean:
	rm -rf $(VENV) build
