"""The one facade: fluent functions, runs and Client. Plugin, gateway and command line only translate to it."""
