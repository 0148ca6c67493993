"""Sections on what systems reach, from the experiments' summaries."""

from emojax import markdown
from emojax.reports import tables
from experiments.results import adversary, page
from experiments.results.page import Headline, Section

_UNWEIGHTED = "unweighted_accuracy"
_ALL_FOLDS = "all of them"
_FOURTEEN = "unseen 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24"
_EMOBOX = (
  ("EmoBox, Table 4: HuBERT base", 65.4),
  ("EmoBox, Table 4: WavLM large", 72.0),
  ("EmoBox, Table 4: Whisper large v3", 75.3),
)


def sections() -> list[Section]:
  """All of them, in the order of the page."""
  return [
    _pretrained(),
    _fourteen_actors(),
    _streams(),
    *adversary.sections(),
    _dann_on_whisper(),
    _table_3(),
    _wrong_labels(),
  ]


def _pretrained() -> Section:
  found = page.study("whisper_ravdess")
  task = "RAVDESS, EmoBox's six folds, 8 emotions, unseen actors"
  beside = ", ".join(
    f"{name.partition(': ')[2]} {value}" for name, value in _EMOBOX
  )
  values = {
    system.id: page.estimate(found, _ALL_FOLDS, system.id, _UNWEIGHTED)
    for system in found.systems
  }
  return Section(
    "Pretrained speech: RAVDESS, EmoBox's six folds",
    "whisper_ravdess",
    "1,440 clips, eight emotions; in each fold four actors are tested, four "
    "choose pooling, batch size, epoch and the SVM's C, sixteen train; five "
    "initialisations, chance 12.5 %. z-scores by speaker see all unlabelled "
    "clips of the test actor at once: another task. EmoBox freezes its "
    "encoders, too, and trains a small network on all twenty actors; a random "
    "part of their clips validates.",
    "python -m experiments.whisper_ravdess.study RAVDESS \\\n"
    "  --output=runs/emobox \\\n"
    "  --rows=frozen,by_speaker,log_mel,svm,svm_by_speaker",
    [
      page.systems(
        found,
        _ALL_FOLDS,
        [_UNWEIGHTED, "weighted_accuracy", "macro_f1"],
        published=_EMOBOX,
      ),
      page.comparisons(
        found,
        _ALL_FOLDS,
        _UNWEIGHTED,
        [("frozen", "svm"), ("by_speaker", "frozen"), ("frozen", "log_mel")],
      ),
      _trained_layers(),
    ],
    [
      Headline(task, "Whisper base, frozen", values["frozen"], beside),
      Headline("", "the same, z-scored by speaker", values["by_speaker"], ""),
      Headline("", "log-mel CNN, from scratch", values["log_mel"], ""),
      Headline("", "ComParE functionals, SVM", values["svm"], ""),
    ],
  )


def _trained_layers() -> str:
  found = page.study("whisper_ravdess/trained")
  table = page.systems(found, _ALL_FOLDS, [_UNWEIGHTED])
  return (
    "Training the encoder: no gain was found, on folds 1 and 2 and at one "
    "learning rate that was not tuned (three initialisations, a GPU, the same "
    'program with `--rows=frozen,last_2,all --folds="fold 1,fold 2" '
    "--seeds=3`: [trained](../experiments/whisper_ravdess/trained)); folds 3 "
    f"to 6 have not been run:\n\n{table}"
  )


def _fourteen_actors() -> Section:
  found = page.study("whisper_ravdess/ten_actors")
  pairs = [("frozen", "svm"), ("by_speaker", "frozen")]
  return Section(
    "Pretrained speech: actors 01-10 train, 11-24 are tested",
    "whisper_ravdess",
    "The split of the project's baselines; of the ten actors some validate. "
    "Five initialisations.",
    "python -m experiments.whisper_ravdess.study RAVDESS --output=runs/ten \\\n"
    "  --split=ten_actors --rows=frozen,by_speaker,svm,svm_by_speaker",
    [
      page.systems(found, _FOURTEEN, [_UNWEIGHTED, "weighted_accuracy"]),
      page.comparisons(found, _FOURTEEN, _UNWEIGHTED, pairs),
    ],
  )


def _streams() -> Section:
  found = page.study("robustness_ravdess")
  body = [["Condition", "on clips as they are (%)", "for streams (%)"]]
  body[0] += ["points", "95 % over test speakers", "p"]
  # No clip is longer than five seconds: that piece is "clean" once more.
  for setting in (name for name in found.settings if name != "piece of 5 s"):
    (one,) = page.compared(
      found, setting, _UNWEIGHTED, "whisper_live", "whisper"
    )
    values = [
      page.estimate(found, setting, name, _UNWEIGHTED)
      for name in ("whisper", "whisper_live")
    ]
    body.append(
      [
        setting,
        *map(tables.estimate, values),
        f"{100 * one.difference:+.1f}",
        markdown.interval(one.ci95, "+.1f"),
        markdown.p_value(one.p_value),
      ]
    )
  return Section(
    "Training for streams",
    "robustness_ravdess",
    "Trained on actors 01-10, on clips as they are and as "
    "`configs/speech.py:live` does (pieces, rooms, noise, channels), tested on "
    "actors 11-24 in sixteen conditions, of which Holm's correction leaves the "
    "pieces of 1 and 2 s; noise recordings of the test are not those of the "
    "training. Frozen Whisper base, one initialisation; a log-mel CNN is in "
    "the experiment's report.",
    "python -m experiments.robustness_ravdess.study RAVDESS NOISE \\\n"
    "  --output=FOLDER --encoder=openai/whisper-base",
    [markdown.table(body)],
  )


def _dann_on_whisper() -> Section:
  found = page.study("whisper_ravdess_dann")
  pairs = [
    ("dann", "c1"),
    ("dann_s", "c1"),
    ("dann_s", "c1_s"),
    ("c1_speaker_norm", "c1"),
    ("dann_s_speaker_norm", "c1_s_speaker_norm"),
  ]
  return Section(
    "DANN on Whisper's features: fourteen unseen actors",
    "whisper_ravdess_dann",
    "Actors 01-10 are labelled, 11-24 unlabelled in training and tested; "
    "lambda of DANN-S is chosen on held-out labelled actors; ten "
    "initialisations of one split, which say nothing of other actors; last "
    "epoch. Of a version before the rule that takes lambda = 0 unless labelled "
    "speakers say that it helps.",
    "python launch.py --config=configs/dann.py:ravdess \\\n"
    "  --config.data.path=RAVDESS \\\n"
    "  --config.data.audio_features=openai/whisper-base \\\n"
    "  --config.data.audio_layers=2,3,4 \\\n"
    "  --config.split.test_speakers="
    "11,12,13,14,15,16,17,18,19,20,21,22,23,24",
    [
      page.systems(
        found, _FOURTEEN, [_UNWEIGHTED, "weighted_accuracy", "speaker_probe"]
      ),
      page.comparisons(found, _FOURTEEN, _UNWEIGHTED, pairs),
    ],
  )


def _table_3() -> Section:
  found = page.study("table3")
  (setting,) = found.settings
  pairs = [(one.a, one.b) for one in found.comparisons]
  return Section(
    "Other networks of Table 3, on the demo corpus (synthetic)",
    "table3",
    "bc-LSTM, CMN and DialogueRNN on the features, batches and initialisations "
    "of C1 and DANN; Sessions 1-4 of synthetic conversations are labelled, "
    "Session 5 is tested; each learning rate is chosen on labelled sessions "
    "that are held out. It shows that they train and how they are compared; "
    "what they are worth has to be seen on IEMOCAP.",
    "python -m experiments.table3.study --output=FOLDER",
    [
      page.systems(found, setting, ["weighted_accuracy", _UNWEIGHTED]),
      page.comparisons(
        found, setting, "weighted_accuracy", [*dict.fromkeys(pairs)]
      ),
    ],
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
    "classifier on them (measured where there are ten initialisations). AUC: "
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
