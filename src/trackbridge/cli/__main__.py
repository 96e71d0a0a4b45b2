"""``python -m trackbridge.cli`` is ``bridge``."""

from trackbridge.cli.main import run

if __name__ == "__main__":
    run()
