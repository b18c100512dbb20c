# The recipes people run; continuous integration runs the same ones (.ci/run calls `make test`).
# Everything fetched or generated lands below .acuity/, target/ and tests/browser/node_modules/, all ignored by git.

.DEFAULT_GOAL := help
export ORIGIN
.PHONY: help setup build run test fuzz bench lint format clean-media

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make run ORIGIN=https://origin.example/path   puts the edge before your own origin instead"
	@echo "  make bench PARTS=end-to-end,serving QUICK=1 CLIP=film.mp4   parts of the bench, a quick one, on your own clip"

setup: ## install what is missing: build tools, FFmpeg's libraries, ONNX Runtime
	@scripts/setup.sh run

build: ## the release binary, target/release/acuity
	@scripts/setup.sh build
	cargo build --release --package acuity

run: ## a real film through the edge, a table of what it gained, and a page that shows it
	@scripts/run.sh

test: ## every test there is: Rust, trainer, browser
	@scripts/test.sh

SECONDS_EACH ?= 1800
fuzz: ## what strangers write, against the parsers: half an hour a target, its log in .acuity/fuzz
	@scripts/setup.sh build
	@scripts/fuzz.sh all --seconds $(SECONDS_EACH)

bench: ## speed beside FFmpeg, public networks and nginx: tables, JSON and pictures in .acuity/bench
	@scripts/setup.sh build
	@CLIP='$(CLIP)' scripts/bench/setup.sh
	cargo build --release --package acuity
	.acuity/trainer/bin/python scripts/bench/run.py $(if $(PARTS),--parts $(PARTS)) $(if $(QUICK),--quick) \
	  $(if $(CLIP),--clip '$(CLIP)') $(BENCH)

lint: ## formatting and clippy, as the tests demand them
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings

format: ## format the Rust sources
	cargo fmt --all

clean-media: ## forget the sample film and its ladder
	rm -rf .acuity/media .acuity/sample
