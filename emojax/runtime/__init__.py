"""What a run needs of its machine: devices, checkpoints, events, progress."""
