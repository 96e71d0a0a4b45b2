"""Stand-ins for the clouds, as strict as they are, for tests without an account."""
