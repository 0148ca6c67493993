"""Labels of the corpora, and the classes of a study."""

import numpy as np
import pytest

from emojax.corpora import labels
from emojax.errors import UserError


def test_every_alias_leads_to_a_common_label():
  assert set(labels.ALIASES.values()) <= set(labels.LABELS)
  assert not set(labels.ALIASES) & set(labels.LABELS)


@pytest.mark.parametrize(
  ("codes", "expected"),
  [
    (
      "ang hap exc sad neu fru fea sur dis oth xxx",  # IEMOCAP
      "angry happy excited sad neutral frustrated fearful surprised disgust "
      "other undecided",
    ),
    ("ANG DIS FEA HAP NEU SAD", "angry disgust fearful happy neutral sad"),
    ("anger joy sadness surprise fear", "angry happy sad surprised fearful"),
  ],
)
def test_spellings_of_the_corpora(codes, expected):
  found = [labels.canonical(code, "x.txt") for code in codes.split()]
  assert found == expected.split()


def test_unlabelled_stays_unlabelled():
  assert labels.canonical("  ", "x.csv, line 3") == ""


def test_an_unknown_label_names_the_place_and_the_nearest():
  with pytest.raises(UserError) as caught:
    labels.canonical("hapy", "x.csv, line 7")
  message = str(caught.value)
  assert message.startswith("x.csv, line 7: unknown label 'hapy'")
  assert "did you mean happy" in message
  assert "\n" not in message


def test_classes_merge_labels():
  classes, index = labels.parse_classes("angry, happy+excited,neu,sad")
  assert classes == ("angry", "happy", "neutral", "sad")
  names = ["excited", "happy", "sad", "", "frustrated", "angry"]
  found = labels.class_index(np.array(names), index)
  assert found.dtype == np.int32
  np.testing.assert_array_equal(
    found, [1, 1, 3, labels.UNLABELLED, labels.LEFT_OUT, 0]
  )


@pytest.mark.parametrize(
  ("text", "why"),
  [
    ("angry,hapy", "did you mean happy"),
    ("angry,,sad", "without a name"),
    ("angry,happy+", "without a name"),
    ("angry,happy+joy", "there twice"),
    ("happy+excited", "at least two"),
    ("", "without a name"),
  ],
)
def test_classes_that_make_no_sense(text, why):
  with pytest.raises(UserError, match=why):
    labels.parse_classes(text)
