"""The one facade: fluent functions, runs and Client. Plugin, gateway and cli only translate to it."""
