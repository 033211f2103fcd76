.PHONY: demo deploy test lint clean

PYTHON ?= python3
BIN := .venv/bin

demo: .venv/ready  ## learn the five tasks of digits-5 under Prefect, recorded in MLflow
	$(BIN)/cpg run digits-5
	$(BIN)/cpg show digits-5-cpg-0.97-digits-o0-s1
	@echo
	@echo "The flow, stage by stage:  $(BIN)/prefect server start     then http://127.0.0.1:4200"
	@echo "The results, compared:     $(BIN)/mlflow ui --workers 1     then http://127.0.0.1:5000"

deploy: .venv/ready  ## the deployments of prefect.yaml, and their work pool, on the Prefect server
	@$(BIN)/prefect work-pool inspect local >/dev/null 2>&1 || \
		$(BIN)/prefect work-pool create local --type process >/dev/null 2>&1 || \
		{ echo "No Prefect server answers. In another terminal: $(BIN)/prefect server start"; exit 1; }
	$(BIN)/prefect --no-prompt deploy --all
	@echo "A worker, in another terminal:  $(BIN)/prefect worker start --pool local"

test: .venv/ready  ## all tests, or those that TESTS names; on the real CIFAR-100 too where CPG_DATA names its folder
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder $(TESTS)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/ready: pyproject.toml constraints.txt telemetry.pth
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	cp telemetry.pth "$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')"
	touch $@

clean:  ## everything that is not in version control, but for checkpoints and data
	rm -rf .venv .prefect .pytest_cache .mypy_cache .ruff_cache mlflow.db mlartifacts work *.egg-info
