"""The page: `python -m emojax serve`."""
