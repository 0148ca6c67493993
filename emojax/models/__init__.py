"""Flax modules. No file, no config, no I/O."""
