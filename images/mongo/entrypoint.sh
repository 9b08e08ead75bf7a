#!/bin/bash
# Starts the official image's mongod as a replica set of one (why: entrypoint.py), and has prepare.js bring it to that.
# /tmp is a memory file system that is new at every start.
set -euo pipefail

run=${MONGO_RUN:-/tmp}
key=$run/replica-set.key
log=$run/mongod.log
told=$run/mongod.told
(umask 177 && head -c 96 /dev/urandom | base64 -w 0 >"$key")
rm -f "$log" "$told"
mkfifo "$log"
: >"$told"

# The private mongod that the image starts first, to make the root user, listens on loopback only.
prepare() {
  until (exec 3<>"/dev/tcp/$(hostname)/27017") 2>/dev/null; do sleep 0.5; done
  until mongosh --quiet --norc --nodb /app/prepare.js && touch /tmp/ready; do sleep 5; done
}

# Hands mongod's log on as it comes, and keeps the lines by which it tells its version and what is wrong with the data's.
pass_on() {
  local line telling='"id":(23403|20573|4671205),|unsupported WiredTiger file version'
  while IFS= read -r line; do
    printf '%s\n' "$line"
    if [[ $line =~ $telling ]]; then printf '%s\n' "$line" >>"$told"; fi
  done <"$log"
}

# Which MongoDB the data are of where mongod does not take them for that; the lines are explained in entrypoint.py.
of_data() {
  if grep -q 'unsupported WiredTiger file version' "$told"; then
    echo "a newer MongoDB"
  elif grep -q '"id":4671205,' "$told"; then
    echo "MongoDB 4.2 or older"
  elif grep -q '"id":20573,' "$told"; then
    local version
    version=$(sed -nE '/"id":20573,/ s/.*(version: \\"|fully upgraded to version )([0-9]+\.[0-9]+).*/\2/p' "$told")
    echo "${version:+MongoDB }${version:-another MongoDB}"
  fi
}

prepare >&2 &
preparing=$!
pass_on &
passing=$!
docker-entrypoint.sh "$@" --replSet chatbot --keyFile "$key" >"$log" &
mongod=$!
trap 'kill -TERM "$mongod" 2>/dev/null || true' TERM INT
while true; do
  code=0
  # A signal ends the wait, not mongod.
  wait "$mongod" || code=$?
  kill -0 "$mongod" 2>/dev/null || break
done
wait "$passing" || true
kill "$preparing" 2>/dev/null || true

data=$(of_data)
if [[ $code != 0 && -n $data ]]; then
  own=$(sed -nE '/"id":23403,/ s/.*"version":"([0-9]+\.[0-9]+).*/\1/p' "$told")
  printf 'mongo: the data are of %s, this is %s: %s\n' "$data" "${own:-another}" "put back what ran before (that version of \
this program, or SOURCES in .env), run \`make backup\`, and then with the new one \`make restore FROM=\` that archive \
(SOURCES= behind it where that changes), which carries over any step" >&2
fi
exit "$code"
