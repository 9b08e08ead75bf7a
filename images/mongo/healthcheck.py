"""Healthy = mongod answers a ping on its real port. The first start's private mongod listens elsewhere, so it never
counts."""

import sys

from pymongo import MongoClient
from pymongo.errors import PyMongoError

try:
    MongoClient(port=27017, serverSelectionTimeoutMS=3000, directConnection=True).admin.command("ping")
except PyMongoError as error:
    sys.exit(f"mongod does not answer on 27017: {error}")
