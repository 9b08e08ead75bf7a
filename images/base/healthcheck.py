#!/usr/bin/python3
"""healthcheck URL: exit 0 if the URL answers 2xx within 5 s, else 1 with the reason, which `docker inspect` then
shows."""

import sys
import urllib.error
import urllib.request

TIMEOUT_S = 5.0


def main(url: str) -> str | None:
    try:
        # Never through a proxy: the address is this container's own.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=TIMEOUT_S):
            return None
    except urllib.error.HTTPError as error:
        return f"{url} answered {error.code}"
    except OSError as error:
        return f"{url} did not answer: {error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) if len(sys.argv) == 2 else __doc__)
