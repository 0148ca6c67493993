"""RLPS (Li & Xu 2020): a selector cleans the training set of a classifier."""

from emojax.trainers.rlps.study import audit, train

__all__ = ["audit", "train"]
