"""Trained systems as files: all that prediction needs, and nothing else."""
