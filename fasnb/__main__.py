"""``python -m fasnb`` is the command ``fasnb``."""

import sys

from fasnb.cli import main

if __name__ == "__main__":
    sys.exit(main())
