"""``python -m fasnb`` is the command ``fasnb``."""

import sys

from fasnb.command.main import main

if __name__ == "__main__":
    sys.exit(main())
