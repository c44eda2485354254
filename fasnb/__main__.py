"""``python -m fasnb`` is the command ``fasnb``."""

from fasnb.command.main import main

raise SystemExit(main())
