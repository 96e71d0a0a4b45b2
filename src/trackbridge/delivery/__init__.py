"""From the journal to tracking ports: batches, fitting, cursors, dead letters."""
