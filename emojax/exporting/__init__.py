"""Trained systems as programs that run without emojax."""
