"""RLPS (Li & Xu 2020): a selector cleans the training set of a classifier."""

from emojax.trainers.rlps.study import audit, train

__all__ = ["AUDITED", "audit", "train"]

# Corpora of faces are split by their authors: what is in two parts is counted
# in a warning, and stays there.
AUDITED = "images that are in more than one part, if any, are named above"
