"""Slips in a config: one line that names the field and what it has to be."""

import math

import pytest

from configs import common, dann, rlps, speech
from emojax import checks
from emojax.errors import UserError

CONFIGS = (dann, rlps, speech)


@pytest.mark.parametrize("module", CONFIGS)
def test_what_all_configs_have(module):
  config = module.get_config()
  checks.common(config)
  for field, value, why in (
    ("num_replicates", 0, "above 0"),
    ("checkpoint_every", -1, "above 0"),
    ("num_epochs", True, "above 0"),
    ("seed", 2**32, "2\\^32"),
    ("seed", -1, "0 to"),
    ("split.seed", -3, "config.split.seed = -3"),
    ("data.max_skipped", -1, "config.data.max_skipped = -1: .* at least 0"),
    ("data.num_workers", -1, "at least 0"),
  ):
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=why) as caught:
      checks.common(changed)
    assert f"config.{field} = {value!r}" in str(caught.value)


@pytest.mark.parametrize(
  "value", [0, -1.5, math.nan, math.inf, (), (1, 0), "1"]
)
def test_numbers(value):
  with pytest.raises(UserError, match=r"config.a.b = .*: has to be above 0"):
    checks.positive({"a": {"b": value}}, "a.b")


def test_numbers_that_are_right():
  config = {"a": (1, 0.5), "b": 0, "c": 0.99}
  checks.positive(config, "a", "c")
  checks.not_negative(config, "a", "b", "c")
  checks.fraction(config, "b", "c")
  checks.distinct(config, "a")
  with pytest.raises(UserError, match=r"config\.a = .*below 1"):
    checks.fraction(config, "b", "a")
  with pytest.raises(UserError, match="each number once"):
    checks.distinct({"a": (1, 1.0)}, "a")


def test_names():
  config = {"one": "b", "some": ("a", "b"), "text": "b, a", "none": ()}
  for field in ("some", "text", "none"):
    checks.choices(config, field, "abc")
  checks.choice(config, "one", "abc")
  checks.choice({"channels": 3}, "channels", (1, 3))
  with pytest.raises(UserError, match=r"config.one = 'b': there are 1, 3"):
    checks.choice(config, "one", (1, 3))
  with pytest.raises(
    UserError, match=r"config\.text = 'b, a': no b; there are"
  ):
    checks.choices(config, "text", "ac")
  with pytest.raises(UserError, match="name each once"):
    checks.choices({"some": ("a", "a")}, "some", "ab")


def test_a_name_may_hold_a_comma():
  assert checks.names('"Smith, Jo", spk02,,"a ""b"""') == [
    *("Smith, Jo", "spk02", "", 'a "b"')
  ]
  assert checks.names(",") == ["", ""]


@pytest.mark.parametrize("module", CONFIGS)
def test_one_dialect(module):
  """What all studies have in common has the same fields and types in all."""
  config = module.get_config()
  for part, shared in (("data", common.data()), ("split", common.split())):
    for name, value in shared.items():
      assert type(config[part][name]) is type(value), f"{part}.{name}"
  assert config.data.corpora == config.data.corpus
  config.data.corpora = "a,b"
  assert config.data.corpus == "a,b"
