# `make` alone lists the commands. Everything is installed into .venv, from the hashed locks in requirements/.

python := .venv/bin/python
model := $${MODEL_DIR:-handler/model}
install = @requirements/install.sh
# "--flag value" where the variable is given on the command line: $(call option,DATA,--data)
option = $(if $(filter command,$(firstword $(origin $1))),$${$1:+$2 "$$$1"})

# MODEL=build/x, like MODEL_DIR, names the bundle; in the environment MODEL_DIR comes first.
ifeq ($(origin MODEL),command line)
serve train check images zip: export MODEL_DIR := $(value MODEL)
else ifeq ($(MODEL_DIR),)
serve train check images zip: export MODEL_DIR := $(value MODEL)
endif

.PHONY: help serve train package check images zip invoke test bench bench-all estimators lint lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

serve: ## train the sample model unless there is a model [MODEL=build/x], and serve it on 127.0.0.1:$PORT (8080)
	$(install) train dev
	@test -f "$(model)/model.json" || $(python) -m training --out "$(model)"
	@$(python) -m handler serve

train: ## train on your data: DATA=f.csv TARGET=column [PIPELINE= THRESHOLD= COLUMNS= DROP= ID= KIND= ...]
	$(install) train dev
	@$(python) -m training $(call option,DATA,--data) $(call option,TARGET,--target) \
	    $(call option,PIPELINE,--pipeline) $(call option,TEST_SIZE,--test-size) $(call option,SEED,--seed) \
	    $(call option,NAME,--name) $(call option,OUT,--out) $(call option,REPORT,--report) \
	    $(call option,COLUMNS,--columns) $(call option,DROP,--drop) $(call option,ID,--id) \
	    $(call option,KIND,--kind) $(call option,NULLABLE,--nullable) $(call option,THRESHOLD,--threshold) \
	    $(call option,COMPARE,--compare) $(if $(EXACT),--exact)

package: ## bundle a fitted model: MODEL=m.pkl SAMPLE=rows.csv [TARGET= NAMES=a,b CLASSES=0=no,1=yes OUT= ...]; a pickle is opened as if --trust were given (not with TRUST=0)
	$(install) train dev
	@$(python) -m training package "$$MODEL" $(call option,SAMPLE,--sample) $(call option,TARGET,--target) \
	    $(call option,NAMES,--names) $(call option,CLASSES,--classes) $(if $(filter 0,$(TRUST)),,--trust) \
	    $(call option,TRUST_TYPE,--trust-type) $(call option,ID,--id) $(call option,KIND,--kind) \
	    $(call option,NAME,--name) $(call option,OUT,--out) $(call option,COMPARE,--compare) $(if $(EXACT),--exact)

check: ## check that the model [MODEL=build/x] reproduces the predictions that it was trained with
	$(install) train dev
	@$(python) -m handler check

images: ## build sklearn-function:lambda and sklearn-function:cloudrun, with the model [MODEL=build/x]; SYNTHETIC=1 allows the sample's
	@test "$(SYNTHETIC)" != 1 -o -n "$$MODEL_DIR" -o -f handler/model/model.json || $(MAKE) train
	@containers/build.sh

zip: ## build the request function as a zip for Lambda's own Python, without libraries [MODEL=build/x RUNTIME=python3.13]
	$(install) train dev
	@$(python) -m containers.request_zip "$(model)" $(call option,RUNTIME,)

invoke: ## send EVENT=events/x.json to the Lambda image under the runtime interface emulator
	@containers/invoke.sh "$(EVENT)"

# A process for each core and one more, as tests wait for containers (tests/conftest.py). Their libraries start no
# threads of their own, which would wait for those of the others; LightGBM does, and these are to sleep meanwhile.
# Bytecode is kept, whatever the environment says: tests start hundreds of processes, each a quarter of a second sooner.
test: ## run every test, or some: T=tests/handler, T="--fast"; with CI=true none may skip for want of an engine or a browser
	$(install) dev
	@unset PYTHONDONTWRITEBYTECODE; OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(python) -m pytest --numprocesses auto --dist worksteal $(T)

bench: ## measure side by side: first answer, speed, servers, batch, shapes, memory, parts; PARTS="start batch" for some
	$(install) dev
	@$(python) -m benchmarks $(PARTS)

bench-all: ## measure everything: five more servers, images of small functions too
	$(install) dev
	@$(python) -m benchmarks all

estimators: ## prove every estimator of docs/estimators.md, and write it anew
	$(install) dev
	@WRITE_DOCS=1 $(python) -m pytest -q tests/training/test_estimators.py

lint: ## ruff (lint and format) and mypy --strict
	$(install) dev
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@$(python) -m mypy

lock: ## refresh every lock to the newest versions that their .in files allow
	@requirements/lock.sh

clean: ## remove .venv, build/, what was compiled and caches; models stay
	rm -rf .venv build handler/kernel/libkernel.so* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
