"""Looking at a model before it is put to use: loaded and asked in an environment of its own."""
