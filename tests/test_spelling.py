"""Two spellings of one name."""

import unicodedata

import pytest

from emojax import spelling


@pytest.mark.parametrize(
  "other",
  [unicodedata.normalize("NFD", "Jürgen"), "jürgen", " Jürgen ", "JÜRGEN"],
)
def test_spellings_of_a_name_have_one_key(other):
  assert spelling.key(other) == spelling.key("Jürgen")


def test_blanks_within_a_name_are_one_blank():
  assert spelling.key("Anna  Maria\u00a0K") == spelling.key("anna maria k")


def test_other_names_have_other_keys():
  assert spelling.key("Jürgen") != spelling.key("Jurgen")


def test_the_first_spelling_counts_and_both_are_named(caplog):
  known = spelling.unify(["Anna", "Bo", "anna ", "Bo"], "m.csv: speaker")
  assert known == {"Anna": "Anna", "Bo": "Bo", "anna ": "Anna"}
  (message,) = caplog.messages
  assert message.startswith("m.csv: speaker: taken as one, for they differ")
  assert message.endswith(": 'anna ' for 'Anna'")


@pytest.mark.parametrize("other", ["Anna\u200b", "\ufeffANNA", "ａｎｎａ"])
def test_what_nobody_sees_is_no_part_of_a_name(other):
  assert spelling.key(other) == spelling.key("Anna")


def test_numbers_that_pandas_gave_a_point():
  assert spelling.without_points(["1.0", "", "12"]) == ["1", "", "12"]
  assert spelling.without_points(["1.0", "Anna"]) == ["1.0", "Anna"]
