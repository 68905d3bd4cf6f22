# Front doors. `make run` starts Pipit on this machine; `make test` runs every test. CMake builds.
SHELL := /bin/bash
BUILD ?= build
SANITIZE ?=
# make run: data folder, ports, instances of each service
DATA ?= var
HTTP_PORT ?= 8080
WS_PORT ?= 8083
MQTT_PORT ?= 1883
OPS_PORT ?= 9461
LISTEN ?= 0.0.0.0
STORE ?= sqlite
CONNECTIONS ?= 1
ROUTINGS ?= 1
STORAGES ?= 1
AUTHS ?= 1
export DATA HTTP_PORT WS_PORT MQTT_PORT OPS_PORT LISTEN BUILD SANITIZE
export STORE CONNECTIONS ROUTINGS STORAGES AUTHS
# make chaos, make powercut; empty: what `make test` does
FAULTS ?=
CUTS ?=
SEED ?=
export FAULTS CUTS SEED

# make bench: folder of the report; QUICK=1: does it work at all; ONLY="part of a step's name"
OUT ?= bench
QUICK ?=
ONLY ?=

.PHONY: run test build unit conformance integration cluster checker chaos powercut planted fuzz checks
.PHONY: bench scenarios format docs clean help

help:
	@echo "make run     build and start the four services here (DATA=var HTTP_PORT=8080 WS_PORT=8083"
	@echo "             MQTT_PORT=1883 OPS_PORT=9461 LISTEN=0.0.0.0); several of each, with MongoDB:"
	@echo "             CONNECTIONS=2 ROUTINGS=2 STORAGES=2 AUTHS=2 STORE=mongodb (or mongodb://...)"
	@echo "make test    install what tests need and run them (SANITIZE=address or thread)"
	@echo "             parts: make unit conformance integration cluster checker planted fuzz checks,"
	@echo "             make chaos FAULTS=60 SEED=1, make powercut CUTS=100 SEED=1"
	@echo "make bench   measure against mosquitto, write bench/report.html (QUICK=1; ONLY=groups; OUT=bench)"
	@echo "make scenarios  run the JMeter and Gatling scenarios with their own tools"
	@echo "make build   build into $(BUILD)/;  make format;  make docs;  make clean"

run:
	@scripts/install-packages.sh run
	@TARGETS="pipit-auth pipit-connection pipit-routing pipit-storage" scripts/build.sh
	@exec scripts/run.sh

build:
	@scripts/install-packages.sh run
	@scripts/build.sh

test:
	@scripts/install-packages.sh test
	@exec scripts/test.sh all

unit conformance integration cluster checker chaos powercut planted fuzz checks:
	@scripts/install-packages.sh test
	@exec scripts/test.sh $@

bench:
	@scripts/install-packages.sh bench
	@TARGETS="pipit-auth pipit-connection pipit-routing pipit-storage pipit-load" scripts/build.sh
	@/usr/bin/python3 loadtest/bench.py --build $(BUILD) --out $(OUT) $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)")

scenarios:
	@scripts/install-packages.sh test
	@TARGETS="pipit-auth pipit-connection pipit-routing pipit-storage" scripts/build.sh
	@PIPIT_BUILD=$(BUILD) loadtest/check-scenarios.sh

format:
	@git ls-files '*.c' '*.h' | xargs clang-format-19 -i

docs: build
	@scripts/generate-docs.sh

clean:
	rm -rf build build-*
