# Every target is one command in scripts/. `make help` is built from the comments behind the targets.
.DEFAULT_GOAL := help
.PHONY: help up down restart status logs doctor prune models model tune bench-model backup backups backup-check restore upgrade key keys admin admins ingest sources wg-peer wg-peers wg-peer-remove dev test test-stack test-long lint audit pins bench

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
prune: ## Give back the disk that builds have left, after asking: images of earlier versions, build cache [YES=1]
	@scripts/prune

##@ Backups
backup: ## All that is not made again by itself, as one verified archive, while people chat [TO=folder]
	@scripts/backup
backups: ## List them: age, size, verified how, where off-site [JSON=1] [CHECK=1: read each of them whole]
	@scripts/backups
backup-check: ## Prove that one can be restored: into throw-away volumes, compared, removed again [FROM=archive]
	@scripts/backup-check
restore: ## Everything as it was in a backup; on a blank machine it is all that is needed: FROM=archive, or UNDO=1 [ACCEPT=]
	@scripts/restore

##@ A newer version
upgrade: ## The newest version with all data, back by itself where it does not answer [SHOW=1: tell only] [TO=branch|tag] [ACCEPT=]
	@scripts/upgrade

##@ The model
models: ## Which fit this machine, how fast they can be, and the best of them [JSON=1] [MEASURE=1] [GPU=1] [CONTEXT_SIZE=8192]
	@scripts/models
model: ## Fetch one and change to it while conversations go on: NAME=name|name:Q5_K_M|file.gguf [PROMPT_FORMAT=] [ACCEPT=]
	@scripts/model
tune: ## Measure which threads, batch and way of loading are fastest here, and write them into .env [MINUTES=5]
	@scripts/tune
bench-model: ## How fast the model is here: engine alone and whole stack, table and plot [ROUNDS=3] [PROMPT=256] [TOKENS=64] [COMPARE=file.json]
	@scripts/bench-model

##@ API keys, and site keys for web pages
key: ## Make one: NAME=home [ORIGINS=https://a.org [BOTS=support]] [SCOPES=chat,kobold,admin] [DAYS=90] [RPM=60] [TOKENS_PER_DAY=9000] [STREAMS=4]
	@scripts/key
keys: ## List them [JSON=1], or end one [REVOKE=id]
	@scripts/keys

##@ The console, for you alone
admin: ## Let somebody in: NAME=anna [PASSWORD_FILE=path]; a new password for one who is; REMOVE=1 takes them away
	@scripts/admin
admins: ## List them [JSON=1]
	@scripts/admins

##@ Knowledge: what bots answer from
ingest: ## Read a website or files: URL=https://a.org/docs or FILE=path [COLLECTION=site | BOT=guide] [DEPTH=] [INCLUDE=] [EXCLUDE=] [PAGES=] [EVERY=24] [LANGUAGE=] [ALLOW_PRIVATE=host]
	@scripts/ingest
sources: ## List them [JSON=1] [SHOW=id]; SYNC=id or REMOVE=id one; SCHEDULE=id EVERY=24; PAUSE=job RESUME=job CANCEL=job; REBUILD=1 the indexes
	@scripts/sources

##@ The way in for you alone: WireGuard
wg-peer: ## Let a device in, or show its config again: NAME=laptop [QR=1] [ENDPOINT=host[:port]]
	@scripts/wg-peer
wg-peers: ## List them: addresses, last handshake, bytes [JSON=1]
	@scripts/wg-peers
wg-peer-remove: ## Shut one out at once: NAME=laptop
	@scripts/wg-peer-remove

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
audit: ## Known weaknesses in code, Dockerfiles and pins, and a bill of materials per image [OFFLINE=1: without asking about the pins]
	@scripts/audit
pins: ## The digest of every image that comes from a registry, asked for and written behind its tag [CHECK=1: tell only]
	@scripts/pins
bench: ## Figures, not tests: footprint latency throughput streams prefix cancel fairness embeddings backends widget material knowledge ingestion retrieval fit [ONLY=latency]
	@scripts/bench
help: ## This list
	@scripts/help Makefile
