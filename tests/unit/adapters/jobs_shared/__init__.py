"""The shared part of jobs on other machines."""
