"""The systems of a study with a selector: who chooses, and by which reward."""

import dataclasses

from emojax.models.selector import F1, LIKELIHOOD, PROBABILITY

# Who chooses. The last two retain as many as RLPS did, epoch by epoch. FOLDS
# chooses once, from classifiers that are each trained without a fold.
ALL, POLICY, FOLDS = "all", "policy", "folds"
SMALL_LOSS, RANDOM = "small_loss", "random"


@dataclasses.dataclass(frozen=True)
class System:
  """A row of the tables.

  Attributes:
    name: behind the classifier's, such as "RLPS"; "" for the classifier alone.
    strategy: who chooses.
    reward: of a `POLICY`: see `selector.rewards`.
    is_logistic: whether the policy is of one layer.
  """

  name: str
  strategy: str
  reward: str = ""
  is_logistic: bool = False


SYSTEMS = {
  "none": System("", ALL),
  "sigmoid": System("Sigmoid", POLICY, LIKELIHOOD, is_logistic=True),
  "rlps_f1": System("RLPS+F1", POLICY, F1),
  "rlps": System("RLPS", POLICY, PROBABILITY),
  "rlps_s": System("RLPS-S", FOLDS),
  "small_loss": System("small loss", SMALL_LOSS),
  "random": System("random", RANDOM),
}
RIVALS = [
  n for n, one in SYSTEMS.items() if one.strategy in (SMALL_LOSS, RANDOM)
]
