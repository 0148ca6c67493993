"""Pickles of conv-emotion: old and new ones, broken ones, hostile ones."""

import collections
import copyreg
import os
import pickle

import numpy as np
import pytest

from emojax.data import import_table
from emojax.data import table as tables
from emojax.errors import UserError
from emojax.weights import plain_pickle

DIALOGUES = {"Ses01F_impro01": 3, "Ses05M_script01_1b": 2}


def _content(as_lists=False, **changes) -> tuple:
  """What a pickle of conv-emotion holds, for two dialogues."""
  rng = np.random.default_rng(0)

  def features(size):
    matrices = {
      d: rng.standard_normal((n, size)).astype(np.float32)
      for d, n in DIALOGUES.items()
    }
    return {d: list(m) for d, m in matrices.items()} if as_lists else matrices

  fields = {
    "videoIDs": {
      "Ses01F_impro01": [
        "Ses01F_impro01_F000",
        "Ses01F_impro01_M000",
        "Ses01F_impro01_M001",
      ],
      "Ses05M_script01_1b": [
        "Ses05M_script01_1b_M000",
        "Ses05M_script01_1b_F000",
      ],
    },
    "videoSpeakers": {
      "Ses01F_impro01": ["F", "M", "M"],
      "Ses05M_script01_1b": ["M", "F"],
    },
    "videoLabels": {
      "Ses01F_impro01": [0, 1, np.int64(2)],
      "Ses05M_script01_1b": np.array([4, 5]),
    },
    "videoText": features(3),
    "videoAudio": features(5),
    "videoVisual": features(2),
    "videoSentence": {
      "Ses01F_impro01": ["Hi.", "Caf\xe9", "No."],
      "Ses05M_script01_1b": ["A", "B"],
    },
    "trainVid": {"Ses01F_impro01"},
    "testVid": frozenset({"Ses05M_script01_1b"}),
    **changes,
  }
  return tuple(fields.values())


def _write(path, content, protocol=2):
  path.write_bytes(pickle.dumps(content, protocol))
  return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("as_lists", [False, True])
def test_every_protocol_gives_the_same_table(tmp_path, protocol, as_lists):
  content = _content(as_lists)
  source = _write(tmp_path / "a.pkl", content, protocol)
  made = import_table.import_pickle(source, tmp_path / "a.npz")
  table = tables.load(tmp_path / "a.npz")
  for field in ("label", "speaker", "dialogue", "turn", "session"):
    np.testing.assert_array_equal(getattr(table, field), getattr(made, field))
  assert table.label.tolist() == [
    "happy",
    "sad",
    "neutral",
    "excited",
    "frustrated",
  ]
  assert table.speaker.tolist() == [
    "Ses01F",
    "Ses01M",
    "Ses01M",
    "Ses05M",
    "Ses05F",
  ]
  assert table.session.tolist() == ["1", "1", "1", "5", "5"]
  assert table.turn.tolist() == [0, 1, 2, 0, 1]
  for modality, field in (("text", 3), ("audio", 4)):
    expected = np.concatenate([np.stack(content[field][d]) for d in DIALOGUES])
    np.testing.assert_array_equal(table.features[modality], expected)


def test_python_2_with_the_old_numpy(tmp_path):
  """The very opcodes of Python 2: byte strings, `__builtin__`, numpy.core."""
  matrix = np.array([[1.5, -2.0], [200.0, 3.0]], "<f4")
  array = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\n"
    b"tR(I1\n(I2\nI2\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNN"
    b"I-1\nI-1\nI0\ntbI00\n"
    + b"S"
    + repr(matrix.tobytes())[1:].encode()
    + b"\n"
    b"tb"
  )
  number = (
    b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'i8'\nI0\nI1\ntR"
    b"(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbS'\\x03\\0\\0\\0\\0\\0\\0\\0'\ntR"
  )
  name = b"S'Ses02F_impro01'\n"
  turns = b"(S'Ses02F_impro01_F000'\nS'Ses02F_impro01_M000'\nl"
  letters = b"(S'F'\nS'M'\nl"
  labels = b"(" + number + b"I1\nl"
  sentences = b"(S'caf\\xe9'\nS'no'\nl"
  vids = b"c__builtin__\nset\n((" + name + b"ltR"
  fields = [turns, letters, labels, array, array, array, sentences]
  dictionaries = b"".join(b"(" + name + field + b"d" for field in fields)
  source = tmp_path / "python2.pkl"
  source.write_bytes(b"(" + dictionaries + vids + vids + b"t.")
  table = import_table.import_pickle(source, tmp_path / "a.npz")
  np.testing.assert_array_equal(table.features["audio"], matrix)
  np.testing.assert_array_equal(table.features["text"], matrix)
  assert table.label.tolist() == ["angry", "sad"]
  assert table.speaker.tolist() == ["Ses02F", "Ses02M"]


def test_utterance_names_overrule_the_speakers(tmp_path):
  wrong = {d: ["F"] * n for d, n in DIALOGUES.items()}
  source = _write(tmp_path / "a.pkl", _content(videoSpeakers=wrong))
  table = import_table.import_pickle(source, tmp_path / "a.npz")
  assert table.speaker.tolist()[:3] == ["Ses01F", "Ses01M", "Ses01M"]
  numbers = {d: list(range(n)) for d, n in DIALOGUES.items()}
  source = _write(tmp_path / "b.pkl", _content(videoIDs=numbers))
  table = import_table.import_pickle(source, tmp_path / "b.npz")
  assert table.speaker.tolist()[:3] == ["Ses01F", "Ses01M", "Ses01M"]


def test_a_missing_modality_is_left_out(tmp_path):
  source = _write(tmp_path / "a.pkl", _content(videoAudio={}))
  table = import_table.import_pickle(source, tmp_path / "a.npz")
  assert set(table.features) == {"text"}


def test_dialogues_that_are_not_listed_are_named(tmp_path, caplog):
  content = _content()
  for field in content[1:5]:
    field["Ses02F_impro09"] = next(iter(field.values()))
  source = _write(tmp_path / "a.pkl", content)
  assert len(import_table.import_pickle(source, tmp_path / "a.npz")) == 5
  assert "videoText has 1 dialogues that videoIDs lacks" in caplog.text
  assert "not used: Ses02F_impro09" in caplog.text


def test_a_few_bytes_that_stand_for_many_numbers(tmp_path):
  row = [0] * 2000
  rows = {d: [row] * n for d, n in DIALOGUES.items()}
  source = _write(tmp_path / "a.pkl", _content(videoAudio=rows), 4)
  import_table.import_pickle(source, tmp_path / "a.npz")
  nested = {d: [[row] * 2] * n for d, n in DIALOGUES.items()}
  source = _write(tmp_path / "a.pkl", _content(videoAudio=nested), 4)
  with pytest.raises(UserError, match="something else than numbers"):
    import_table.import_pickle(source, tmp_path / "a.npz")
  many = [f"Ses01F_{i}" for i in range(100)]
  fields = {
    "videoIDs": dict.fromkeys(many, tuple(range(200))),
    "videoSpeakers": dict.fromkeys(many, ("F",) * 200),
    "videoLabels": dict.fromkeys(many, (0,) * 200),
    "videoText": {},
    "videoAudio": dict.fromkeys(many, (row,) * 200),
  }
  source = _write(tmp_path / "b.pkl", _content(**fields), 4)
  with pytest.raises(UserError, match="more utterances than bytes"):
    import_table.import_pickle(source, tmp_path / "b.npz")
  few = {name: dict(list(d.items())[:3]) for name, d in fields.items()}
  source = _write(tmp_path / "c.pkl", _content(**few), 4)
  with pytest.raises(UserError, match="unfolds to more numbers than"):
    import_table.import_pickle(source, tmp_path / "c.npz")


class _Call:
  def __init__(self, function, *arguments):
    self._call = function, arguments

  def __reduce__(self):
    return self._call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_runs_code_is_refused(tmp_path, protocol):
  marker = tmp_path / "marker"
  calls = {
    "system": _Call(os.system, f"touch {marker}"),
    "eval": _Call(eval, f"open({str(marker)!r}, 'w')"),
    "getattr": _Call(getattr, "", "format"),
    "_reconstructor": _Call(copyreg._reconstructor, dict, dict, {}),
    "fromfile": _Call(np.fromfile, str(tmp_path / "a.pkl")),
  }
  for name, call in calls.items():
    source = tmp_path / "a.pkl"
    _write(source, _content(videoVisual={"x": call}), protocol)
    with pytest.raises(UserError, match=f"refused.*{name}") as caught:
      import_table.import_pickle(source, tmp_path / "a.npz")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["a.pkl"]


def test_dotted_names_and_other_encodings_are_refused(tmp_path):
  source = tmp_path / "a.pkl"
  hostile = {
    # STACK_GLOBAL with a dotted name would walk over attributes.
    b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.tofile__\x93.": "refused",
    b"c_codecs\nencode\n(Vx\nVzlib\ntR.": "not a whole pickle",
    b"cos\nsystem\n.": "refused",
    b"\x82\x01.": "refused.*EXT1",  # the extension registry
    b"P1\n.": "refused.*PERSID",  # a persistent identity
    b"K\x01Q.": "refused.*outside",
    b"}}b.": "refused.*sets attributes",
  }
  for content, why in hostile.items():
    source.write_bytes(content)
    with pytest.raises(UserError, match=why):
      import_table.import_pickle(source, tmp_path / "a.npz")


def _one(field, value):
  return {field: {"Ses01F_impro01": value, "Ses05M_script01_1b": [0, 1]}}


ROW = np.zeros(5, np.float32)


@pytest.mark.parametrize(
  ("changes", "why"),
  [
    (_one("videoSpeakers", ["F"]), "has 1 entries, videoIDs has 3"),
    (_one("videoLabels", [0, 1, 6]), "label 6 is not one of 0 to 5"),
    (_one("videoLabels", [0, 1, "neu"]), "label 'neu' is not one of"),
    (_one("videoLabels", 3), "is no list"),
    (_one("videoAudio", [ROW, ROW, ROW[:2]]), "rows of different lengths"),
    (_one("videoAudio", ["a", "b", "c"]), "something else than numbers"),
    (_one("videoAudio", [ROW, ROW]), "has 2 entries, videoIDs has 3"),
    (_one("videoAudio", np.zeros((3, 1, 5))), "has shape"),
    (
      {
        "videoAudio": {
          "Ses01F_impro01": np.zeros((3, 5)),
          "Ses05M_script01_1b": np.zeros((2, 4)),
        }
      },
      r"has shape \(2, 4\); expected \(2, 5\)",
    ),
    (
      {
        "videoAudio": {
          "Ses01F_impro01": np.full((3, 5), np.nan),
          "Ses05M_script01_1b": np.zeros((2, 5)),
        }
      },
      "NaN or infinity in 3 of 5 rows",
    ),
    ({"videoText": {"Ses01F_impro01": np.zeros((3, 2))}}, "lacks the dialogue"),
    ({"videoAudio": {}, "videoText": {}}, "neither audio nor text"),
    ({"videoIDs": {}}, "no utterance"),
    ({"videoIDs": [1]}, "videoIDs is no dictionary"),
    ({"videoIDs": {"dia0": ["x"]}}, "not named as in IEMOCAP"),
  ],
)
def test_content_that_does_not_fit_together(tmp_path, changes, why):
  source = _write(tmp_path / "a.pkl", _content(**changes))
  with pytest.raises(UserError, match=why) as caught:
    import_table.import_pickle(source, tmp_path / "a.npz")
  assert str(source) in str(caught.value)
  assert "\n" not in str(caught.value)
  assert os.listdir(tmp_path) == ["a.pkl"]


def test_files_that_are_no_such_pickle(tmp_path):
  source = tmp_path / "a.pkl"
  whole = pickle.dumps(_content(), 2)
  for content in (b"", b"label,speaker\n", whole[:-300]):
    source.write_bytes(content)
    with pytest.raises(UserError, match="not a whole pickle"):
      import_table.import_pickle(source, tmp_path / "a.npz")
  with pytest.raises(UserError, match="not a conv-emotion pickle"):
    import_table.import_pickle(_write(source, (1, 2)), tmp_path / "a.npz")
  with pytest.raises(UserError, match="No such file"):
    import_table.import_pickle(tmp_path / "b.pkl", tmp_path / "a.npz")


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_damaged_bytes_never_escape(tmp_path, protocol):
  """NumPy's own `__setstate__` crashes on such files, pickle's C code hangs."""
  source = tmp_path / "a.pkl"
  whole = pickle.dumps(_content(), protocol)
  for seed in range(200):
    rng = np.random.default_rng(seed)
    wrong = bytearray(whole)
    for position in rng.integers(0, len(wrong), 3):
      wrong[position] = rng.integers(256)
    source.write_bytes(wrong)
    try:
      import_table.import_pickle(source, tmp_path / "a.npz")
    except UserError as error:
      assert str(source) in str(error)


_DEEP = 250_000
_TUPLES = b")" + b"\x85" * _DEEP
_NESTED = {
  "key": b"}" + _TUPLES + b"K\x01s",
  "ordered": (
    b"ccollections\nOrderedDict\n(](" + b"](" + _TUPLES + b"K\x01eetR"
  ),
  "set": b"c__builtin__\nset\n(](" + _TUPLES + b"etR",
  "tuples": b"](" + _TUPLES + b"K\x01K\x02e",
  "lists": b"](K\x01K\x02" + b"]" * _DEEP + b"a" * (_DEEP - 1) + b"e",
  "dtype": b"cnumpy\ndtype\n(X\x02\0\0\0f4tR(K\x03" + _TUPLES + b"tb",
}


@pytest.mark.parametrize("name", _NESTED)
@pytest.mark.parametrize("field", ["videoAudio", "videoLabels"])
def test_deep_nesting_is_one_line(tmp_path, name, field):
  """Python's hash and `repr` of such a thing take all of the stack."""
  whole = pickle.dumps(_content(**_one(field, "here")), 2)
  place = b"X\x04\0\0\0here"
  assert whole.count(place) == 1
  source = tmp_path / "a.pkl"
  source.write_bytes(whole.replace(place, _NESTED[name]))
  with pytest.raises(UserError) as caught:
    import_table.import_pickle(source, tmp_path / "a.npz")
  assert str(source) in str(caught.value)
  assert "\n" not in str(caught.value)
  assert len(str(caught.value)) < 500
  if name == "key":
    assert "refused, nothing of it was run" in str(caught.value)


def test_ordered_dictionaries_of_python_2():
  items = b"(](](U\x01aK\x01e](U\x01bK\x02eetR."
  program = b"ccollections\nOrderedDict\n" + items
  names = import_table._names()
  assert plain_pickle.run(program, names) == {"a": 1, "b": 2}


def test_dictionaries_with_a_default(tmp_path):
  """As a script that gathers dialogues leaves them."""
  fields = list(_content())
  fields[0] = collections.defaultdict(list, fields[0])
  fields[1] = collections.OrderedDict(fields[1])
  for protocol in (0, 2, 4):
    source = _write(tmp_path / "a.pkl", tuple(fields), protocol)
    table = import_table.import_pickle(source, tmp_path / "a.npz")
    assert len(table) == 5
