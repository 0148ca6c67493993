"""Emotion of single clips: a pretrained encoder, attention pooling, a head."""

from emojax.data.splits import AUDITED
from emojax.trainers.speech.study import audit, train

__all__ = ["AUDITED", "audit", "train"]
