"""MLflow's REST protocol in front of any backend, and the web pages."""
