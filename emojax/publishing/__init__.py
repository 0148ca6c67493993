"""Trained systems on the hub: the card that goes with them, and the upload."""
