"""What is read of slowhttptest's words."""

from __future__ import annotations

from tests.bench.composed import attacks

# As version 1.8.2 writes it, colours and all.
_STATUS = """
slow HTTP test status on \x1b[0;32m{second}\x1b[1;32mth second:

\x1b[1;32minitializing:\x1b[1;32m        0
\x1b[1;32mpending:     \x1b[1;32m        1
\x1b[1;32mconnected:   \x1b[1;32m        {connected}
\x1b[1;32merror:       \x1b[1;32m        3
\x1b[1;32mclosed:      \x1b[1;32m        {closed}
\x1b[1;32mservice available:\x1b[1;32m   \x1b[1;32mYES\x1b[0m
"""


def test_connections_that_were_cut_off_count_as_made() -> None:
    told = [(0, 0, 0), (5, 700, 0), (10, 600, 380), (15, 20, 977)]
    said = "".join(
        _STATUS.format(second=second, connected=connected, closed=closed) for second, connected, closed in told
    )
    assert attacks.made(said) == 997
    assert attacks.made("Exit status: Connection refused") == 0
