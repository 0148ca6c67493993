"""The standard library's pickles are the independent side."""

import fractions
import pickle

import pytest

from emojax.weights import plain_pickle

_SHARED = ["shared", (1, 2)]
_PLAIN = {
  "none": None,
  "truth": [True, False],
  "numbers": [0, 255, 256, 70_000, -1, 2**40, -(2**70), 0.1],
  "strings": ["", "a", "ä" * 300],
  "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
  "dicts": {"empty": {}, 3: {"many": dict.fromkeys(map(str, range(2000)))}},
  "lists": [[], list(range(2000))],
  "twice": [_SHARED, _SHARED],
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_containers(protocol):
  value = plain_pickle.run(pickle.dumps(_PLAIN, protocol), {}, None)
  assert value == _PLAIN
  assert value["twice"][0] is value["twice"][1]


@pytest.mark.parametrize("protocol", [2, 4])
def test_only_what_is_handed_over_is_called(protocol):
  program = pickle.dumps([fractions.Fraction(1, 3)], protocol)
  calls = {"fractions.Fraction": lambda *arguments: arguments}
  (arguments,) = plain_pickle.run(program, calls, None)
  assert arguments in ((1, 3), ("1/3",))
  with pytest.raises(
    plain_pickle.RefusedError, match=r"tries to run 'fractions\.Fraction'"
  ):
    plain_pickle.run(program, {}, None)


def test_every_cut_of_a_pickle_is_an_error_of_damage():
  program = pickle.dumps({**_PLAIN, "dicts": {}, "lists": []}, 4)
  for length in range(len(program)):
    with pytest.raises(plain_pickle.DAMAGE):
      plain_pickle.run(program[:length], {}, None)
