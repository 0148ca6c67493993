"""DANN for emotion in conversations, after Lian et al."""

from emojax.data.loading import audit
from emojax.trainers.dann.study import train

__all__ = ["audit", "train"]
