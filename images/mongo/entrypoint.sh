#!/bin/bash
# Starts the official image's mongod as a replica set of one (why: entrypoint.py), and has prepare.js bring it to that.
# /tmp is a memory file system that is new at every start.
set -euo pipefail

key=/tmp/replica-set.key
(umask 177 && head -c 96 /dev/urandom | base64 -w 0 >"$key")

# The private mongod that the image starts first, to make the root user, listens on loopback only.
prepare() {
  until (exec 3<>"/dev/tcp/$(hostname)/27017") 2>/dev/null; do sleep 0.5; done
  until mongosh --quiet --norc --nodb /app/prepare.js && touch /tmp/ready; do sleep 5; done
}
prepare >&2 &

exec docker-entrypoint.sh "$@" --replSet chatbot --keyFile "$key"
