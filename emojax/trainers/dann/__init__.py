"""DANN for emotion in conversations, after Lian et al."""

from emojax.trainers.dann.study import train

__all__ = ["train"]
