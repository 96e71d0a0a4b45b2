"""Backends of trackbridge, one folder each. Nothing here is imported by the core: see entry points."""
