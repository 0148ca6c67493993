"""Learning curves from a finished run's history.

E rounds, R trainings, C classes; unweighted accuracies as fractions.
"""

import numpy as np

from emojax.metrics import unweighted_accuracy
from emojax.reports.finished_run import METRIC, FinishedRun

_VALIDATION = f"/validation_{METRIC}"
_CONFUSIONS = "/confusion_matrix"

# [R, E] by (setting, system).
Curves = dict[tuple[str, str], np.ndarray]


def of_validation(run: FinishedRun) -> Curves:
  """Curves of a study that validates, as far as all of its seeds have gone.

  They are kept as `SETTING/SYSTEM/SEED/validation_unweighted_accuracy` [E].
  """
  curves = {}
  for row in run.summary["rows"]:
    system = f"{row['setting']}/{row['system']}"
    seeds = [
      values_E
      for name, values_E in run.history.items()
      if name.endswith(_VALIDATION)
      and name.removesuffix(_VALIDATION).rpartition("/")[0] == system
    ]
    if seeds:
      num_rounds = min(map(len, seeds))
      shown = [values_E[:num_rounds] for values_E in seeds]
      curves[row["setting"], row["system"]] = np.stack(shown)
  return curves


def of_test(run: FinishedRun) -> Curves:
  """Curves over the test speakers, of a DANN study, which has no validation.

  They are counted in `SETTING, NORMALISATION/confusion_matrix` [E, R, C, C],
  which holds the trainings of several systems, in the order of the summary's
  rows. A row whose final accuracies are not found there gets no curve.
  """
  curves = {}
  for name, confusion_ExRxCxC in run.history.items():
    if not name.endswith(_CONFUSIONS):
      continue
    group = name.removesuffix(_CONFUSIONS)
    setting = group.rpartition(", ")[0]
    values_RxE = unweighted_accuracy(confusion_ExRxCxC).T
    start = 0
    for row in run.summary["rows"]:
      is_member = f"{group}/{row['system']}/{METRIC}" in run.history
      if row["setting"] != setting or not is_member:
        continue
      final_R = row[METRIC]["runs"]
      stop = start + len(final_R)
      if np.array_equal(values_RxE[start:stop, -1], final_R):
        curves[setting, row["system"]] = values_RxE[start:stop]
      start = stop
  return curves
