"""DANN for emotion in conversations, after Lian et al."""

from emojax.data.loading import audit
from emojax.data.splits import AUDITED
from emojax.trainers.dann.study import train

__all__ = ["AUDITED", "audit", "train"]
