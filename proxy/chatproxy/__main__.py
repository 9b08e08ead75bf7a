"""`python -m chatproxy`: see commands.py."""

import os
import sys

from chatproxy.commands import main

sys.exit(main(sys.argv[1:], os.environ))
