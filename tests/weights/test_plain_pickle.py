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


@pytest.mark.parametrize("protocol", range(6))
def test_plain_containers(protocol):
  value = plain_pickle.run(pickle.dumps(_PLAIN, protocol), {})
  assert value == _PLAIN
  assert value["twice"][0] is value["twice"][1]


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_bytes(protocol):
  value = [b"", b"\xff" * 10, b"a" * 70_000]
  assert plain_pickle.run(pickle.dumps(value, protocol), {}) == value


def test_sets_come_as_lists():
  program = pickle.dumps([{1, 2}, frozenset("a")], 4)
  numbers, letters = plain_pickle.run(program, {})
  assert sorted(numbers) == [1, 2]
  assert letters == ["a"]


def test_strings_of_python_2_come_as_latin_1():
  program = b"(S'caf\\xe9'\nU\x02\xff\xfeT\x01\0\0\0at."
  assert plain_pickle.run(program, {}) == ("café", "ÿþ", "a")
  assert pickle.loads(program, encoding="latin1") == ("café", "ÿþ", "a")


def test_who_asks_gives_identities_and_states():
  state = b"]X\x01\0\0\0ab."
  with pytest.raises(plain_pickle.RefusedError, match="attributes of a list"):
    plain_pickle.run(state, {})
  built = []
  plain_pickle.run(state, {}, build=lambda *given: built.append(given))
  assert built == [("a", [])]
  assert plain_pickle.run(b"K\x07Q.", {}, str) == "7"
  with pytest.raises(plain_pickle.RefusedError, match="outside"):
    plain_pickle.run(b"K\x07Q.", {})


@pytest.mark.parametrize("protocol", [2, 4])
def test_only_what_is_handed_over_is_called(protocol):
  program = pickle.dumps([fractions.Fraction(1, 3)], protocol)
  calls = {"fractions.Fraction": lambda *arguments: arguments}
  (arguments,) = plain_pickle.run(program, calls)
  assert arguments in ((1, 3), ("1/3",))
  with pytest.raises(
    plain_pickle.RefusedError, match=r"tries to run 'fractions\.Fraction'"
  ):
    plain_pickle.run(program, {})


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_every_cut_of_a_pickle_is_an_error_of_damage(protocol):
  program = pickle.dumps({**_PLAIN, "dicts": {}, "lists": []}, protocol)
  for length in range(len(program)):
    with pytest.raises(plain_pickle.DAMAGE):
      plain_pickle.run(program[:length], {})
