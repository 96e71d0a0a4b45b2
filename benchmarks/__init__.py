"""Each figure of the README comes from here: ``make bench``, or ``python -m benchmarks --help``."""
