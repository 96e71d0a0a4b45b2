"""Each figure of docs/benchmarks.md comes from here: ``make bench``, or ``python -m benchmarks --help``."""
