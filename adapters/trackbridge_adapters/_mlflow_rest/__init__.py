"""What the adapters of every MLflow endpoint share: the wire, and the ports on top of it."""
