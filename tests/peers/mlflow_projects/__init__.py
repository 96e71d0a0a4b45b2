"""Projects in the shape of mlflow's own examples."""
