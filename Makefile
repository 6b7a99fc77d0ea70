# medge: `make demo` shows it, `make test` proves it, `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Where PyTorch's CPU build comes from: https://download.pytorch.org/whl/cpu spares gigabytes of CUDA
# when the default index holds CUDA builds. Only `make test`, export and training need torch.
TORCH_INDEX ?=
# How many files of tests run at a time.
JOBS ?= 2
# Your own studies for `make demo`, the training images for `make demo-mri` and `make demo-bundles`.
DATA ?=

# onnxruntime 1.29 and later reports home on Linux when this is absent; medge sets it for itself.
export ORT_DISABLE_TELEMETRY := 1
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

STAMPS := .stamps
SOURCES := pyproject.toml CMakeLists.txt constraints.txt $(wildcard cpp_ext/*)
EXTRAS_ALL := openvino,codecs,gdcm,export,bench,nvidia

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help preflight demo demo-mri demo-bundles zoo estimator test lint types pyright wheel bench loadgen hostile test-arm test-jetson contracts gpu-check clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

preflight:
	@sh tests/preflight.sh $(PYTHON)

$(BIN)/python: | preflight
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'

$(STAMPS)/base: $(SOURCES) | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[codecs]'
	@mkdir -p $(STAMPS) && touch $@

# torch comes first, so that the other packages find its CPU build in place.
$(STAMPS)/all: $(STAMPS)/base
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch torchvision
	$(BIN)/pip install --quiet --editable '.[$(EXTRAS_ALL)]' --group dev
	@touch $@

demo: $(STAMPS)/base ## Judge made and real ultrasound files with the built-in bundle (DATA=folder: yours too)
	$(BIN)/python examples/demo_studies.py out/demo
	$(BIN)/medge run out/demo/phantoms out/demo/real
	$(BIN)/medge run out/demo/phantoms out/demo/real --format jsonl -o out/demo.jsonl
	@echo 'out/demo.jsonl holds the same results, one JSON object a frame.'
ifneq ($(DATA),)
	$(BIN)/medge run '$(DATA)' || test $$? -eq 3
endif

demo-bundles: $(STAMPS)/all ## Train the demonstration bundles again (DATA=folder with MedMNIST files, else fetched)
	$(BIN)/python examples/breast_ultrasound.py build $(if $(DATA),--data '$(DATA)')
	$(BIN)/python examples/chest_xray.py build $(if $(DATA),--data '$(DATA)')

demo-mri: $(STAMPS)/all ## Train the brain MRI bundle from DATA=folder and run it
	@test -n '$(DATA)' || { echo 'make demo-mri needs DATA=folder with one folder of pictures per class'; exit 2; }
	$(BIN)/python examples/brain_mri.py build --data '$(DATA)' --out out/brain-mri.medge
	$(BIN)/medge run '$(DATA)' --bundle out/brain-mri.medge --format csv -o out/brain-mri.csv
	@echo 'out/brain-mri.csv judges the pictures that it was trained on: it shows the path, not the skill.'

zoo: $(STAMPS)/all ## Train eight classifiers to benchmark and judge with, 2 hours (DATA=folder with MedMNIST files)
	$(BIN)/python examples/zoo.py build $(if $(DATA),--data '$(DATA)')
	$(BIN)/python examples/zoo.py data --for chest-x-ray $(if $(DATA),--data '$(DATA)')
	$(BIN)/python examples/zoo.py data --for breast-ultrasound $(if $(DATA),--data '$(DATA)')

estimator: $(STAMPS)/all ## Fit the latency estimator and judge it (DATA=published_benchmarks.csv)
	@test -n '$(DATA)' || { echo 'make estimator needs DATA=file.csv with published measurements'; exit 2; }
	$(BIN)/python examples/estimator.py both '$(DATA)'

test: $(STAMPS)/all lint types ## Build, all tests, lint, types (JOBS=1: one file of tests at a time)
	$(BIN)/pytest $(if $(filter-out 1,$(JOBS)),--numprocesses $(JOBS) --dist loadfile)

lint: $(STAMPS)/all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMPS)/all
	$(BIN)/mypy

pyright: $(STAMPS)/all ## Types again, with pyright (fetches it)
	$(BIN)/pip install --quiet pyright
	$(BIN)/pyright

wheel: $(STAMPS)/all ## Build the wheel, install it in an empty environment, test that
	sh tests/wheel.sh $(BIN) $(PYTHON)

bench: $(STAMPS)/all ## Every speed figure of docs/results.md (about 10 minutes, quiet machine)
	$(BIN)/python tests/benchmarks/all.py
	$(BIN)/pytest --benchmark-enable tests/test_benchmarks.py

loadgen: $(STAMPS)/all ## MLPerf LoadGen, its own settings, 50 minutes (BUNDLE=..., LOADGEN=audited: 2 hours)
	$(BIN)/medge profile '$(or $(BUNDLE),breast-ultrasound)' --quick --no-sensors \
		--loadgen $(or $(LOADGEN),official)

hostile: $(STAMPS)/all ## 20,000 mutated files, cuts, lies, bit flips, damaged engines, NaN (15 minutes)
	$(BIN)/python tests/hostile/mutate.py
	$(BIN)/python tests/hostile/silent.py
	$(BIN)/python tests/hostile/codestream_lies.py
	$(BIN)/python tests/hostile/damaged_cache.py
	$(BIN)/python tests/hostile/not_finite.py
	$(BIN)/python tests/hostile/killed_writes.py

test-arm: $(STAMPS)/all ## aarch64, emulated: kernels bit for bit, the wheel, `medge run` (3 minutes)
	bash tests/arm/kernels.sh $(BIN)/python
	machine=$$(bash tests/arm/machine.sh $(BIN)/python) && \
		bash tests/arm/wheel.sh $(BIN)/python "$$machine" && \
		$(BIN)/python tests/arm/decisions.py "$$machine"

test-jetson: $(STAMPS)/all ## The runner of build bundles on Python 3.6 to 3.9 (OLD=/path/to/python3.6)
	sh tests/jetson.sh $(BIN) build/jetson-python $(OLD)

contracts: $(STAMPS)/all ## Published bindings of TensorRT and onnxruntime-gpu, no GPU: names, states (260 MB)
	$(BIN)/python tests/contracts/tensorrt_bindings.py
	$(BIN)/python tests/contracts/jetson_runner.py
	$(BIN)/python tests/contracts/onnxruntime_gpu.py

gpu-check: $(STAMPS)/all ## On a machine with an NVIDIA GPU: its tests, and a dated record (ARGS='--seconds 5')
	$(BIN)/python tests/gpu/check.py $(ARGS)

clean: ## Remove what was built, and the environment
	rm -rf $(VENV) $(STAMPS) build dist out
