"""Use cases: each makes a plan, shows it, applies it and checks what came of it."""
