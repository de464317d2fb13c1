"""`python -m mlpmixer` is the command `mixer`."""

import sys

from mlpmixer.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
