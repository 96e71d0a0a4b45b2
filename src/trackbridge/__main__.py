"""``python -m trackbridge`` is ``bridge``."""

import sys

from trackbridge.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
