"""Pretrained encoders of speech and text, and their published weights."""
