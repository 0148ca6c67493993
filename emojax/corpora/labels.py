"""The labels that all corpora share, and the classes of a study."""

import difflib
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from emojax import spelling
from emojax.errors import UserError

_LOG = logging.getLogger(__name__)

LABELS = (
  *("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust"),
  *("surprised", "boredom", "frustrated", "excited", "contempt", "other"),
  # Annotators do not agree. Not '', by which an utterance would be a turn of
  # DANN's conversations: published studies of IEMOCAP leave these out.
  "undecided",
)

# Spellings of the corpora: IEMOCAP, CREMA-D, MELD, TESS, SAVEE and FERPlus.
# One letter means different emotions in different corpora, so none is here.
_PLEASANT = ("pleasant_surprise", "pleasant_surprised")
_SPELLINGS = {
  "neutral": ("neu", "neutrality"),
  "calm": ("calmness",),
  "happy": ("hap", "happiness", "joy", "joyful"),
  "sad": ("sadness",),
  "angry": ("ang", "anger"),
  "fearful": ("fea", "fear"),
  "disgust": ("dis", "disgusted"),
  "surprised": ("sur", "surprise", "ps", *_PLEASANT),
  "boredom": ("bored",),
  "frustrated": ("fru", "frustration"),
  "excited": ("exc", "excitement"),
  "contempt": ("con",),
  "other": ("oth",),
  "undecided": ("xxx",),
}
ALIASES = {
  spelling: label
  for label, spellings in _SPELLINGS.items()
  for spelling in spellings
}

UNLABELLED = -1
LEFT_OUT = -2


def canonical(label: str, where: str) -> str:
  """Maps a corpus's spelling of a label, in any case, to the common one.

  '' is unlabelled and stays ''. `where` is file and line, for the error.

  Raises:
    UserError: nobody knows this label.
  """
  key = spelling.key(label)
  if not key or key in LABELS:
    return key
  if key in ALIASES:
    return ALIASES[key]
  near = difflib.get_close_matches(key, [*LABELS, *ALIASES], n=3)
  guess = ", ".join(dict.fromkeys(ALIASES.get(name, name) for name in near))
  meant = f"did you mean {guess}? " if guess else ""
  if re.fullmatch(r"[\d.+-]+", key):
    meant = "write the emotion in place of its number; "
  raise UserError(
    f"{where}: unknown label {label[:60]!r}; {meant}known are "
    f"{', '.join(LABELS)}"
  )


def parse_classes(text: str) -> tuple[tuple[str, ...], dict[str, int]]:
  """Reads which labels a study keeps, and how it merges them.

  Classes are separated by commas; `happy+excited` is one class, named `happy`,
  that takes both labels.

  Returns:
    The names of the classes, and the class index of each label kept.

  Raises:
    UserError: an unknown label, a label used twice, fewer than two classes.
  """
  where = f"config.data.labels = {text!r}"
  classes, index = [], {}
  for group in text.split(","):
    names = [canonical(name, where) for name in group.split("+")]
    for name in names:
      if not name:
        raise UserError(f"{where}: a class without a name; remove a comma or +")
      if name in index:
        raise UserError(f"{where}: {name} is there twice; name it once")
      index[name] = len(classes)
    classes.append(names[0])
  if len(classes) < 2:
    raise UserError(f"{where}: one class only; name at least two")
  return tuple(classes), index


def class_index(
  labels: Sequence[str] | np.ndarray, index: Mapping[str, int]
) -> np.ndarray:
  """Maps common labels [U] to the classes of a study, see `parse_classes`.

  Returns:
    int32 [U]: a class index, `UNLABELLED` for '', or `LEFT_OUT` for a label
    that the study does not name.
  """
  known = {"": UNLABELLED, **index}
  return np.array([known.get(label, LEFT_OUT) for label in labels], np.int32)


def say_left_out(
  where: str,
  labels: Sequence[str] | np.ndarray,
  index: Mapping[str, int],
  needs_label: bool = True,
) -> None:
  """Logs how many of some labels [U] a study leaves out, and which.

  `needs_label`: whoever has none is left out, too.
  """
  counts = Counter(map(str, labels))
  without = counts.pop("", 0) if needs_label else 0
  others = {name: n for name, n in counts.items() if name and name not in index}
  said = [f"{without} without a label"] * bool(without)
  if others:
    named = ", ".join(f"{name} {others[name]}" for name in sorted(others))
    total = sum(others.values())
    said.append(f"{total} of labels that the study does not name ({named})")
  if said:
    _LOG.info("%s: of %d left out: %s", where, len(labels), ", ".join(said))
