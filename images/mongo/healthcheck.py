"""Healthy = mongod takes writes, and prepare.py has made sure of its users."""

import sys

from prepare import connected, ready_file
from pymongo.errors import PyMongoError

try:
    with connected() as client:
        writable = client.admin.command("hello").get("isWritablePrimary")
except PyMongoError as error:
    sys.exit(f"mongod does not answer: {error}")
if not writable:
    sys.exit("mongod takes no writes: the replica set of one has no primary")
if not ready_file().exists():
    sys.exit("mongod's users are still being made sure of")
