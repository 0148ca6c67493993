"""Sections on RLPS as published, and on RLPS-S beside its rivals."""

from emojax import markdown
from emojax.reports import tables
from experiments.results import page
from experiments.results.page import Headline, Section

_WEIGHTED, _UNWEIGHTED = "weighted_accuracy", "unweighted_accuracy"


def sections() -> list[Section]:
  """Both of them."""
  return [_as_published(), _wrong_labels()]


def _as_published() -> Section:
  found = page.study("rlps_ferplus")
  body = []
  for setting in found.settings:
    rows = [row for row in found.rows if row.setting == setting]
    table = [["System", "unweighted accuracy (%)", "weighted accuracy (%)"]]
    kinds = [*rows[-1].groups["retention"]]
    table[0] += [f"retained: {kind} (%)" for kind in kinds] + ["AUC (%)"]
    for row in rows:
      kept = row.groups.get("retention", {})
      values = [row.metrics[name] for name in (_UNWEIGHTED, _WEIGHTED)]
      values += [kept.get(kind) for kind in kinds]
      values.append(row.groups.get("noise_detection", {}).get("auc"))
      table.append([found.label(row.system), *map(tables.estimate, values)])
    others = [row.system for row in rows if row.system != "rlps"]
    body += [
      f"### {setting}, RLPS as published",
      markdown.table(table),
      page.comparisons(
        found, setting, _WEIGHTED, [("rlps", other) for other in others]
      ),
    ]
  return Section(
    "Who stays in the training set: RLPS as published",
    "rlps_ferplus",
    "1,600 faces of FERPlus: 1,045 training, 183 validation and 174 test "
    "images have a majority label. A quarter of the training images are half "
    "faces and a quarter no faces, or three in ten labels are wrong, or all is "
    "as it is; DCNN at small widths, eight epochs before the selector and ten "
    "with it; three initialisations, of which no test can give less than 0.25. "
    "All systems of an initialisation start from one pretrained classifier. "
    "AUC: how often an image without a face, with a wrong label or (as it is) "
    "with a contested one has a lower retention probability than another. "
    "Published of half and no faces, on RAF-DB: *96.2*, *89.1* and *32.2* % of "
    "full, half and no faces are retained (ExpW: *97.9*, *82.0*, *28.9*).",
    "python launch.py --config=configs/rlps.py:ferplus \\\n"
    "  --workdir=runs/rlps-ferplus --config.data.path=FERPlus \\\n"
    "  --config.num_replicates=3 --config.batch_size=32 \\\n"
    '  --config.model.widths="(16,32,64,64,128,128)" \\\n'
    "  --config.pretraining_epochs=8 --config.num_epochs=10",
    body,
  )


def _wrong_labels() -> Section:
  found = page.study("rlps_s")
  headline = "30 % class-dependent label noise; dense on oriented gradients"
  body = []
  for setting in found.settings:
    there = [row.system for row in found.rows if row.setting == setting]
    pairs = [("rlps_s", system) for system in there if system != "rlps_s"]
    if "with_validation" in there:
      pairs += [
        ("with_validation", "none"),
        ("rlps_s_with_validation", "with_validation"),
      ]
    count = len(found.row(setting, "none").metrics[_UNWEIGHTED].runs)
    body += [
      f"### {setting} ({count} initialisation{'s' if count > 1 else ''})",
      page.systems(found, setting, ["weighted_accuracy", _UNWEIGHTED, "auc"]),
      page.comparisons(found, setting, "weighted_accuracy", pairs),
    ]
  return Section(
    "Wrong labels: RLPS-S and its rivals",
    "rlps_s",
    "FERPlus: 7,661 training, 1,298 validation and 923 test faces on whose "
    "label most annotators agree (all 8,797 training faces as they are). A CNN "
    "on the images, of eight convolutions or (small) of three, or a dense "
    "classifier on oriented gradients, is trained on what each method keeps; "
    "five of them, each without a fold, say how wrong "
    "a label looks. RLPS-S and logistic regression learn from the labels of "
    "the validation part, too; the plainest use of these is to train the "
    "classifier on them (rows of their own, where it was measured). AUC: "
    "of wrong labels, of images without a face, "
    "or of contested ones. Speech: the dense classifier on Whisper base's "
    "layer 3; 960 clips of sixteen actors teach, 240 of four validate, 240 of "
    "four are tested. Last epoch. Two pairs cannot give a p-value below 0.5, "
    "six none below 0.031, which with Holm's correction for eight rivals is "
    "0.25; ten none below 0.002. What is over initialisations is over noise, "
    "too; what is over test examples says how far a difference holds for other "
    "images, by these trainings.",
    "emojax features dann:ravdess --config.data.path=RAVDESS \\\n"
    "  --config.data.audio_features=openai/whisper-base WHISPER.npz\n"
    "python -m experiments.rlps_s.study FERPLUS --output=OUT \\\n"
    "  [--classifier=small_cnn|cnn --seeds=AS_BELOW] --table=WHISPER.npz",
    body,
    [
      Headline(
        ""
        if system != "none"
        else "FERPlus, 30 % class-dependent wrong "
        "labels in training; *weighted* accuracy",
        found.label(system),
        page.estimate(found, headline, system, "weighted_accuracy"),
        "",
      )
      for system in (
        *("none", "with_validation", "rlps_s", "rlps_s_with_validation"),
        *("told_apart", "cleanlab"),
      )
    ],
  )
