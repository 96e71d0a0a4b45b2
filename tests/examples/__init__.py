"""The scripts below examples/, as users run them."""
