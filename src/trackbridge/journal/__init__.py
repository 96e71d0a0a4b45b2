"""The write-ahead log: one folder per writing process; see ``format`` for what lies in it."""
