"""Emotion of single clips: a pretrained encoder, attention pooling, a head."""

from emojax.trainers.speech.study import audit, train

__all__ = ["audit", "train"]
