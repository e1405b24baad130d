PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: train test test-backends test-slow backends lint format docs clean

# Train auxws by its report's recipe on real MNIST, export it, run the exported file.
train: $(READY)
	$(BIN)/kpairs train --arch auxws --loss-weights 0.5,1
	$(BIN)/kpairs export --onnx --out auxws.onnx
	$(BIN)/kpairs data --samples samples
	$(BIN)/kpairs predict auxws.onnx samples/3.png samples/7.png

test: lint
	$(BIN)/python -m pytest

# Whole recipes against the reports' figures: most of an hour.
test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# Every architecture on jax and tensorflow, in an environment of its own.
test-backends:
	$(MAKE) VENV=.venv-backends EXTRAS=dev,backends backends

backends: $(READY)
	$(BIN)/python -m pytest -m backends

docs: $(READY)
	$(BIN)/python -m kpairs.cli.reference > docs/cli.md

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

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
	rm -rf $(VENV) .venv-backends build *.egg-info .pytest_cache .ruff_cache .hypothesis
