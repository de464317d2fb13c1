# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint sanitize fuzz tiles browser environment clean

demo: $(READY)  ## train on handwritten digits, evaluate, and show where the report is
	$(BIN)/mixer train --recipe quick --data digits --patch-size 2 --depth 4 --zero-init-residual

test: $(READY) lint  ## lint, format check, type check, tests
	$(BIN)/pytest -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

sanitize: $(READY)  ## the tests of what is written in C++ under AddressSanitizer and UndefinedBehaviorSanitizer
	rm -rf build/sanitized && mkdir -p build/sanitized
	cp -r mlpmixer setup.py pyproject.toml README.md LICENSE build/sanitized/
	find build/sanitized -name '*.so' -delete
	cd build/sanitized && MLPMIXER_SANITIZE=1 ../../$(BIN)/python setup.py -q build_ext --inplace
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 PYTHONPATH=build/sanitized \
	$(BIN)/pytest -q -p no:cacheprovider -k "not openvino" tests/kernels tests/engines \
	tests/data/test_resizing.py tests/data/test_training_picture.py
# Not `python -m pytest`: it would import from here. OpenVINO loads its libraries as ASan forbids.

fuzz: $(READY)  ## the kernels on a thousand random shapes (EXAMPLES=N: on so many)
	MLPMIXER_FUZZ_EXAMPLES=$(or $(EXAMPLES),1000) $(BIN)/pytest -q tests/kernels/test_shapes.py

tiles:  ## the level of AMX as it is built, on a processor with AVX-512 BF16 that lacks AMX
	mkdir -p build/tiles
	cd build/tiles && for file in level_amx:"-mavx512f -mavx512bw -mavx512dq -mavx512vl \
	-mfma -mavx512bf16 -DASSEMBLES_TILES" level_amx_emulated: level_portable: linear: mixer: pool: ; do \
	$(CXX) -std=c++17 -O3 -fno-math-errno -pthread -c $${file#*:} -o $${file%%:*}.o \
	../../mlpmixer/kernels/native/$${file%%:*}.cpp || exit 1; done
	$(CXX) -std=c++17 -O1 -pthread -I mlpmixer/kernels/native -o build/tiles/trapped \
	tests/kernels/trapped_tiles.cpp build/tiles/*.o
	build/tiles/trapped

browser:  ## Chromium for the tests of the server's page (Debian and Ubuntu; needs root)
	apt-get install -y --no-install-recommends chromium

environment: $(READY)  ## only build the environment

$(READY): pyproject.toml constraints.txt setup.py $(wildcard mlpmixer/*/native/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:  ## remove what was built; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache mlpmixer/*/_*.so
