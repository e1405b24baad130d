PYTHON ?= python3
# Another Python has an environment of its own: make test PYTHON=python3.13
VENV ?= $(if $(filter python3,$(PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
EXTRAS ?= dev,pretrained
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: train test test-all test-slow test-docs test-reliability test-browser test-rounding test-mutations test-backends backends lint format docs pages reproduce clean

# Train auxws by its report's recipe on real MNIST, export it, run the exported file.
train: $(READY)
	$(BIN)/kpairs train --arch auxws --loss-weights 0.5,1
	$(BIN)/kpairs export --onnx --out auxws.onnx
	$(BIN)/kpairs data --samples samples
	$(BIN)/kpairs predict auxws.onnx samples/3.png samples/7.png

test: lint
	$(BIN)/python -m pytest

# All that is tested, hours of it.
test-all: test test-slow test-docs test-reliability test-browser test-rounding test-mutations test-backends

# Tables over all networks, and whole recipes against the reports' figures: most of an hour.
test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# Damaged files of every format, kills, full disks, odd options: a table of what was tried, and how
# often it went wrong. Half an hour or more; RELIABILITY="--scale 0.1 --seed 1" is a tenth of it, with
# other cases.
test-reliability: $(READY)
	$(BIN)/python tests/reliability_script.py $(RELIABILITY)

# Every command of README and guides, in small, and what it prints. Half an hour.
test-docs: $(READY)
	$(BIN)/python tests/docs_script.py

# The pages, in a real browser that is installed already.
test-browser: $(READY)
	@for name in chromium chromium-browser google-chrome microsoft-edge "$$KPAIRS_BROWSER"; do \
	  command -v "$$name" > /dev/null && exit 0; done; \
	echo "expected Chromium, Chrome or Edge; on Debian: apt-get install chromium"; exit 1
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]'
	$(BIN)/python -m pytest -n 0 -m browser

# Whatever computes, as processors without AVX-512 and without AVX round. torch, oneDNN, MKL and
# OpenBLAS can be told to; onnxruntime has no such switch.
NUMERIC = tests/exports tests/mini tests/models tests/ours tests/training
AVX2 = ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_CBWR=AVX2 OPENBLAS_CORETYPE=Haswell
SSE = ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE OPENBLAS_CORETYPE=Nehalem
test-rounding: $(READY)
	$(BIN)/python -m pytest $(NUMERIC)
	$(AVX2) $(BIN)/python -m pytest $(NUMERIC)
	$(SSE) $(BIN)/python -m pytest $(NUMERIC)

# Mistakes made on purpose in networks and training: each has to fail a test.
test-mutations: $(READY)
	$(BIN)/python tests/mutations_script.py

# Every architecture on jax and tensorflow, in an environment of its own.
test-backends:
	$(MAKE) VENV=.venv-backends EXTRAS=dev,pretrained,backends backends

backends: $(READY)
	$(BIN)/python -m pytest -m backends

# The pages of the reports, from the committed rows of the studies.
pages: $(READY)
	$(BIN)/kpairs report --rows docs/rows --out docs
	$(BIN)/kpairs archs ws --plot docs/figures/arch-ws.svg --force

# Every training of every report, on all cores; hours. Stopped, it goes on where it was.
reproduce: JOBS = $(shell $(PYTHON) -c 'import os; print(os.cpu_count())')
reproduce: $(READY)
	$(BIN)/kpairs study all --jobs $(JOBS) $(STUDY)
	$(BIN)/kpairs mini study --shared-points --jobs $(JOBS)
	$(BIN)/kpairs mini digits --rounds 3 --jobs $(JOBS)
	$(BIN)/kpairs report --rows studies --out studies/pages

# The site, into docs/_build/html; a warning is an error.
docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "wrote docs/_build/html/index.html"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# One environment for all: made again when the packaging or the exact versions change.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "kpairs needs Python 3.11 or newer; $(PYTHON) is" `$(PYTHON) --version`; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $(READY)

clean:
	rm -rf $(VENV) .venv .venv-* build *.egg-info .pytest_cache .ruff_cache .hypothesis
