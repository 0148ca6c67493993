"""Sections on the adversary, and on what there is without one."""

from emojax.reports import tables
from emojax.summary import Summary
from experiments.adversary import summing_up, variants
from experiments.results import page
from experiments.results.page import Headline, Section

_UNWEIGHTED = "unweighted_accuracy"


def sections() -> list[Section]:
  """All of them, in the order of the page."""
  return [
    _when_it_helps(),
    _linear(),
    _layers(),
    _inductive(),
    _variants(),
  ]


def _when_it_helps() -> Section:
  found = page.study("adversary")
  body = []
  for setting in found.settings:
    pairs = {
      (one.a, one.b): None
      for one in found.comparisons
      if one.setting == setting
    }
    metrics = [_UNWEIGHTED, "weighted_accuracy"]
    body += [f"### {setting}", page.systems(found, setting, metrics)]
    if pairs:
      body += [page.comparisons(found, setting, _UNWEIGHTED, [*pairs])]
    body += _same_runs(found, setting)
  setting = found.settings[0]
  return Section(
    "When an adversary helps",
    "adversary",
    "RAVDESS in EmoBox's folds (Whisper's layer 3, the best of single layers "
    "on actors 01-10, who are tested in some of them), or actors 01-10 "
    "labelled and 11-24 tested (ComParE, eGeMAPS); MELD's transcripts in its "
    "official parts, each of the six of the main cast unlabelled in turn. "
    "Whether lambda is 0, and what it is else, is chosen on labelled speakers "
    "who are held out; five initialisations (MELD: two), last epoch. Test "
    "speakers are in the domain loss, with their unlabelled utterances. C1 + "
    "speaker norm has C1's recipe as published, C1-S the stabilised one: "
    "these two differ in two things.",
    "python -m experiments.adversary.study OUT --ravdess=RAVDESS \\\n"
    "  --encoder=openai/whisper-base --corpora=whisper,compare,egemaps,demo\n"
    "python -m experiments.adversary.study OUT --meld=MELD \\\n"
    "  --text=sentence-transformers/all-MiniLM-L6-v2 --corpora=meld --seeds=2",
    body,
    [
      Headline(
        ""
        if system != "c1_s"
        else "the same folds, one layer of Whisper; "
        "clips of the test actors are unlabelled training data",
        found.label(system),
        page.estimate(found, setting, system, _UNWEIGHTED),
        "",
      )
      for system in ("c1_s", "dann_s", "c1_speaker_norm")
    ],
  )


def _same_runs(found: Summary, setting: str) -> list[str]:
  """A sentence on each pair of systems that are one, where lambda is 0."""
  pairs = [
    (one, other)
    for end in ("", "_speaker_norm")
    if (one := found.row(setting, f"dann_s{end}"))
    and (other := found.row(setting, f"c1_s{end}"))
  ]
  return [
    f"{found.label(one.system)} takes lambda = 0: it and "
    f"{found.label(other.system)} are the same runs."
    for one, other in pairs
    if summing_up.same_runs(one, other)
  ]


def _linear() -> Section:
  found = page.study("adversary/linear")
  (setting,) = found.settings
  pairs = [(one.a, one.b) for one in found.comparisons]
  chosen = "ridge_chosen"
  return Section(
    "Without any clip of the test speaker: a linear classifier",
    "adversary/linear",
    "RAVDESS in EmoBox's folds, Whisper's layers averaged over a clip; ridge "
    "regression on each class. In each fold 20 actors are labelled; penalty "
    "and layers are those with the best mean recall on labelled actors who "
    "are held out, four at a time. The networks beside it are those of the "
    "section above, on layer 3. Only DANN-S and the rows with speaker norm "
    "have clips of the test actors, without labels. That it is ridge "
    "regression, and these four sets of layers, was decided on actors 01-10, "
    "who are tested in some of the folds.",
    "python -m experiments.adversary.linear OUT --ravdess=RAVDESS \\\n"
    "  --encoder=openai/whisper-base",
    [
      page.systems(found, setting, [_UNWEIGHTED, "weighted_accuracy"]),
      page.comparisons(found, setting, _UNWEIGHTED, list(dict.fromkeys(pairs))),
    ],
    [
      Headline(
        "the same folds, Whisper's layers chosen on labelled actors",
        "ridge regression",
        page.estimate(found, setting, chosen, _UNWEIGHTED),
        "",
      )
    ],
  )


def _layers() -> Section:
  found = page.study("adversary/layers")
  (setting,) = found.settings
  several, *others = "c1_s_layers_1_5", "c1_s", "dann_s", "ridge_chosen"
  again = page.estimate(found, setting, "c1_s_layer_3", _UNWEIGHTED)
  return Section(
    "Without any clip of the test speaker: C1-S on several layers",
    "adversary/layers",
    "The folds and layers of the section above, and its rows beside: C1-S, as "
    "DANN-S, has layer 3. That it is layers 1 to 5 was decided on actors "
    "01-10, who are tested in some of the folds (see the section below); five "
    "initialisations, last epoch. The program trains as `study` does, but not "
    f"by the same code: layer 3 has {tables.estimate(again)} % in it.",
    "python -m experiments.adversary.layers OUT --ravdess=RAVDESS \\\n"
    "  --encoder=openai/whisper-base",
    [
      page.systems(
        found, setting, [_UNWEIGHTED, "weighted_accuracy"], [several, *others]
      ),
      page.comparisons(
        found, setting, _UNWEIGHTED, [(several, other) for other in others]
      ),
    ],
  )


def _inductive() -> Section:
  found = page.study("adversary/inductive")
  (setting,) = found.settings
  chosen, mean = "ridge_chosen", "ridge_mean"
  names = [one.id for one in found.systems]
  pairs = [(name, chosen) for name in names if name != chosen]
  pairs += [(name, mean) for name in names if name.startswith(f"{mean}_")]
  return Section(
    "Without any clip of the test speaker: other voices, layers averaged",
    "adversary/inductive",
    "RAVDESS, actors 01-10 alone, two held out at a time and eight labelled; "
    "who is held out is validation data. Ridge regression on Whisper's layers "
    "of the clips, and of one or two copies of each in another voice (up to "
    "four semitones, formants with them, and up to 20 % in speed: the "
    "augmentation of `configs/speech.py`); with the set of layers that is best "
    "on labelled actors held out, or scores averaged over all four sets. "
    "Copies of who is held out are not learned from; penalty and layers are "
    "chosen on clips as they are. What gains beyond what actors vary was to "
    "be run on EmoBox's folds: none does, and none was.",
    "python -m experiments.adversary.inductive OUT --ravdess=RAVDESS \\\n"
    "  --encoder=openai/whisper-base",
    [
      page.systems(found, setting, [_UNWEIGHTED, "weighted_accuracy"]),
      page.comparisons(found, setting, _UNWEIGHTED, pairs),
    ],
  )


def _variants() -> Section:
  found = page.study("adversary/variants")
  return Section(
    "What was tried on top of DANN-S",
    "adversary/variants",
    "RAVDESS, actors 01-10 alone, two held out at a time and eight labelled. "
    "Who is held out is validation data: what gains on the better DANN-S "
    "beyond what actors vary was to be built in, and nothing was. Whisper "
    "base, layer 3 where nothing else is said; 30 epochs, three "
    "initialisations, last epoch; *std* is over initialisations, intervals "
    "and p are over the ten actors. 26 rows are compared with each of two: of "
    "so many some have p < 0.05 by chance.",
    "python -m experiments.adversary.variants OUT --ravdess=RAVDESS \\\n"
    "  --encoder=openai/whisper-base",
    [variants.comparison_table(found)],
  )
