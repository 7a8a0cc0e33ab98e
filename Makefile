# The commands of this repository. Everything they need is set up on the way: uv, the locked environment,
# and the system tools when this user may install them.
UV := $(or $(shell command -v uv),$(CURDIR)/build/uv/bin/uv)
export UV_PYTHON_DOWNLOADS := never
export UV_COMPILE_BYTECODE := 1
# A package index may hiccup.
export UV_HTTP_RETRIES ?= 8
export UV_HTTP_TIMEOUT ?= 120
HOME_DIR := build/demo/home
# Tests wait for other processes now and then: one more at a time than there are processors uses that time.
TEST_WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

.PHONY: demo test lint bench serve clean setup setup-dev lake-readers duckdb-1 ontap-client oidc-provider xen-api-client kerberos tools test-tools

demo: setup tools
	$(UV) run --locked --no-default-groups --extra serve holdfast demo --dir build/demo

test: setup-dev lake-readers duckdb-1 ontap-client oidc-provider xen-api-client test-tools kerberos
	$(UV) run --locked --group dev pytest -n $(TEST_WORKERS) --dist worksteal

lint: setup-dev
	$(UV) run --locked --group dev ruff check .
	$(UV) run --locked --group dev ruff format --check .
	$(UV) run --locked --group dev mypy
	$(UV) run --locked --group dev lint-imports

bench: setup-dev test-tools
	$(UV) run --locked --group dev python -m tests.bench

# Serves the API and the page over what the demo made.
serve: setup
	$(UV) run --locked --no-default-groups --extra serve holdfast --home $(HOME_DIR) serve

clean:
	rm -rf build dist .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(UV)
	$(UV) sync --locked --no-default-groups --extra serve --inexact --quiet

setup-dev: $(UV)
	$(UV) sync --locked --group dev --quiet

# The official DuckLake extension fits one DuckDB release only, so its readers have their own environment.
lake-readers: $(UV)
	UV_PROJECT_ENVIRONMENT=build/lake-readers $(UV) sync --locked --only-group lake-readers --quiet

# The SQL door must hold on both major versions of DuckDB; its tests run a second time with this one.
duckdb-1: $(UV)
	UV_PROJECT_ENVIRONMENT=build/duckdb-1 $(UV) sync --locked --only-group duckdb-1 --quiet

# NetApp's own client, which our fake of ONTAP must satisfy.
ontap-client: $(UV)
	UV_PROJECT_ENVIRONMENT=build/ontap-client $(UV) sync --locked --only-group ontap-client --quiet

# Kerberos for a test that logs in with it; where its headers or a compiler are missing the test skips.
kerberos: $(UV) test-tools
	@if ! command -v krb5-config >/dev/null; then echo "kerberos: libkrb5-dev is missing" >&2; exit 0; fi; \
	UV_PROJECT_ENVIRONMENT=build/kerberos $(UV) sync --locked --only-group kerberos --quiet || \
	echo "kerberos: its packages were not built" >&2

# Peers of the tests from npm: an identity provider, and the client of XenAPI that our simulator is compared with. Where
# npm is missing those tests skip.
oidc-provider: build/oidc-provider/node_modules/.package-lock.json
build/oidc-provider/node_modules/.package-lock.json: tests/support/oidc_provider/package-lock.json
	$(npm-ci)

xen-api-client: build/xen-api-client/node_modules/.package-lock.json
build/xen-api-client/node_modules/.package-lock.json: tests/support/xen_api_client/package-lock.json
	$(npm-ci)

define npm-ci
@name=$(word 2,$(subst /, ,$@)); \
if ! command -v npm >/dev/null; then echo "$$name: npm is missing" >&2; exit 0; fi; \
mkdir -p build/$$name && cp $(<D)/package*.json build/$$name && cd build/$$name && \
timeout 300 npm ci --silent --ignore-scripts --no-audit --no-fund --fetch-retries 4 --fetch-timeout 60000 || \
 { echo "$$name: npm could not install it" >&2; exit 1; }
endef

tools:
	.ci/tools

test-tools:
	.ci/tools test

$(CURDIR)/build/uv/bin/uv:
	python3 -m pip install --quiet --disable-pip-version-check --retries 8 --timeout 60 --target build/uv 'uv>=0.9'
