"""What an adapter must do: one Protocol a file. The docstrings are the contract."""
