# Every target is one command in scripts/. `make help` is built from the comments behind the targets.
.DEFAULT_GOAL := help
.PHONY: help up down restart status logs doctor key keys dev test test-stack test-long lint bench

##@ Run it
up: ## From a bare machine to a working chat; later: apply what changed [GPU=1] [any setting, as SOURCES=packages]
	@scripts/up
down: ## Stop everything; all data stays, and it says where
	@scripts/down
restart: ## Restart everything, or one service [SERVICE=proxy]
	@scripts/restart

##@ Look after it
status: ## One line per service: health, uptime, memory, model, queue
	@scripts/status
logs: ## Follow what the services write [SERVICE=engine] [LINES=100]
	@scripts/logs
doctor: ## Look for trouble, in the machine and in what runs; each with its fix
	@scripts/doctor

##@ API keys, and site keys for web pages
key: ## Make one: NAME=home [ORIGINS=https://a.org [BOTS=support]] [SCOPES=chat,kobold,admin] [DAYS=90] [RPM=60] [TOKENS_PER_DAY=9000] [STREAMS=4]
	@scripts/key
keys: ## List them [JSON=1], or end one [REVOKE=id]
	@scripts/keys

##@ Work on it
dev: ## The same services natively on loopback, without Docker; Ctrl-C ends them [PORT=8080]
	@scripts/dev
test: ## Lint, unit tests, integration tests with the real services, the widget in a browser [ARGS="-k name"]
	@scripts/test
test-stack: ## The composed appliance, from a clean copy through `make up` [ARGS=...]
	@scripts/test-stack
test-long: ## The tests that take minutes [KILLS=1000] [ARGS=...]
	@scripts/test-long
lint: ## Style, types, shell, Dockerfiles and YAML
	@scripts/lint
bench: ## Figures, not tests: footprint latency throughput streams prefix cancel fairness widget [ONLY=latency]
	@scripts/bench
help: ## This list
	@scripts/help Makefile
