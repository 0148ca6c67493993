"""Sections on what systems reach, from the experiments' summaries."""

from emojax import markdown
from emojax.reports import tables
from experiments.results import adversary, page, selectors
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
    *selectors.sections(),
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
    ("dann_speaker_norm", "c1_speaker_norm"),
  ]
  return Section(
    "DANN on Whisper's features: fourteen unseen actors",
    "whisper_ravdess_dann",
    "Actors 01-10 are labelled, 11-24 unlabelled in training and tested; "
    "lambda of DANN-S is chosen on held-out labelled actors, and is 0 with "
    "z-scores by speaker: C1-S again. Ten initialisations of one split; last "
    "epoch.",
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
