# The commands of the project. `make run` and `make test` need Python 3.11 or newer, and nothing else.

PORT ?= 8000
HOST ?= 127.0.0.1
# Most tests wait for something most of the time.
WORKERS ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
VENV := .venv
python := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help run cluster test test-js test-services check format bench clean

help:  ## Say what there is
	@echo "make run     run WataOmi on http://$(HOST):$(PORT) (PORT=, HOST=, DATABASE_URL= change it)"
	@echo "make cluster run it as one web process and two workers, on this machine's PostgreSQL and Redis (the same, REDIS_URL=)"
	@echo "make test    run all tests (WORKERS=4 for four processes)"
	@echo "make check   look for mistakes: ruff, mypy, import-linter, migrations, settings"
	@echo "make format  format the code"
	@echo "make bench   measure: nodes per second, latency, memory"
	@echo "make clean   remove what the other commands have made, except your data"

# The addresses of this machine, unless .env has them: the environment goes before it.
in_env_file = $(shell grep -s -E '^ *(export )?$(1) *=' .env)
ifeq ($(call in_env_file,WATAOMI_BASE_URL),)
run cluster: export WATAOMI_BASE_URL ?= http://localhost:$(PORT)
endif
ifeq ($(call in_env_file,DATABASE_URL),)
cluster: export DATABASE_URL ?= postgres://postgres@127.0.0.1:5432/wataomi
endif
ifeq ($(call in_env_file,REDIS_URL),)
cluster: export REDIS_URL ?= redis://127.0.0.1:6379/0
endif

run: $(VENV)/.installed .env
	@$(python) manage.py prepare --host $(HOST) --port $(PORT)
	@exec $(VENV)/bin/daphne --bind $(HOST) --port $(PORT) wataomi.asgi:application

cluster: export WATAOMI_EXECUTOR := procrastinate
cluster: export PYTHONUNBUFFERED := 1
cluster: export HOST := $(HOST)
cluster: $(VENV)/.installed-dev .env
	@$(python) manage.py prepare --host $(HOST) --port $(PORT) --again "make cluster"
	@# Without honcho's reading of .env, which would win over the environment; the processes read it themselves.
	@exec $(VENV)/bin/honcho --env /dev/null start --port $(PORT) --concurrency web=1,worker=2

# In two halves: all tests on SQLite, then the integration tests on PostgreSQL and Redis.
test: $(VENV)/.installed-dev
	@status=0; \
	$(python) -m pytest -n $(WORKERS) || status=1; \
	$(MAKE) --no-print-directory test-js || status=1; \
	$(MAKE) --no-print-directory test-services || status=1; \
	exit $$status

test-services: $(VENV)/.installed-dev
	@if $(python) -m tests.services; then TEST_SERVICES=1 $(python) -m pytest -n $(WORKERS) tests/integration; \
	elif [ -n "$$CI" ]; then exit 1; fi

test-js:
	@if command -v node >/dev/null; then node --test $(wildcard tests/js/*.test.js tests/js/*.test.mjs); \
	elif [ -n "$$CI" ]; then echo "JavaScript tests: node is missing, and in CI nothing may be skipped" >&2; exit 1; \
	else echo "JavaScript tests: skipped, because node is not installed"; fi

check: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	DJANGO_SETTINGS_MODULE=tests.settings $(python) manage.py makemigrations --check --dry-run
	DJANGO_SETTINGS_MODULE=tests.settings $(python) manage.py check

format: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(VENV)/.installed-dev
	$(python) -m benchmarks

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache staticfiles tests/artifacts
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are newer than what they were made from once an installation has gone through to its end.
$(VENV)/.installed: requirements.txt $(python)
	@echo "Installing what WataOmi needs (a minute, the first time) ..."
	@$(python) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements.txt requirements-dev.txt $(python)
	@echo "Installing what the tests and checks need (a minute, the first time) ..."
	@$(python) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/.installed

$(python):
	@found=; \
	for candidate in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	    if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "WataOmi needs Python 3.11 or newer, and found none. Install it (https://www.python.org/downloads/)," >&2; \
	    echo "or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	$$found -m venv --clear $(VENV) || { rm -rf $(VENV); \
	    echo "$$found could not make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
	}

.env: | $(python)
	@umask 077; $(python) -c 'import secrets; print("# Settings of this machine; see docs/reference/settings.md.\nDEBUG=1\nSECRET_KEY=" + secrets.token_urlsafe(50))' > $@.new
	@mv $@.new $@
