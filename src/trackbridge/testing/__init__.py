"""Shipped for tests of programs and adapters: contract suites, fault injection."""
