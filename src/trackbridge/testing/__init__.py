"""Shipped for authors of adapters: contract suites, fault injection, a clock that tests can set."""
