#!/bin/sh
# pip-install ARGUMENTS... : `pip install` into /opt/venv as every image wants it.
# - the host's CA bundle, when the build was given one as secret `ca`: networks that inspect TLS sign with their own authority
# - PIP_INDEX_URL only when it says something: pip takes an empty value for an address
# - no dependency resolution: requirements.txt holds the whole, checked set
# - bytecode now, because the running container cannot write any
set -eu
if [ -s /run/secrets/ca ]; then
    export PIP_CERT=/run/secrets/ca
fi
if [ -z "${PIP_INDEX_URL:-}" ]; then
    unset PIP_INDEX_URL
fi
exec /opt/venv/bin/pip install --disable-pip-version-check --no-input --no-deps --compile --progress-bar off "$@"
