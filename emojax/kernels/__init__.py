"""What is written by hand for speed, each beside its plain reference."""
