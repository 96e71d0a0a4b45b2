"""What things are: frozen values and the search grammar. Standard library and msgspec only."""
