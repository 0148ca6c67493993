"""Feature tables: round trips, tolerance of types, and every refusal."""

import dataclasses
import os
import pickle
import resource
import struct
import zipfile

import numpy as np
import pytest

from emojax.corpora.records import normalise_session
from emojax.data import duplicates
from emojax.data import table as tables
from emojax.errors import UserError


def _arrays(**changes) -> dict[str, np.ndarray]:
  arrays = {
    "audio": np.arange(8, dtype=np.float32).reshape(4, 2),
    "text": np.ones((4, 3), np.float32),
    "label": np.array(["angry", "", "exc", "neu"]),
    "speaker": np.array(["A", "B", "A", "B"]),
    "dialogue": np.array(["d", "d", "e", "d"]),
    "turn": np.array([2, 0, 0, 1]),
    "session": np.array(["Ses01", "Session1", "2", "01"]),
    **changes,
  }
  return {name: values for name, values in arrays.items() if values is not None}


def _write(path, **changes):
  np.savez(path, **_arrays(**changes))
  return path


def test_round_trip(tmp_path):
  table = tables.load(_write(tmp_path / "a.npz"))
  tables.save(tmp_path / "new" / "b.table", table)
  again = tables.load(tmp_path / "new" / "b.table")
  for name in ("label", "speaker", "dialogue", "turn", "session"):
    np.testing.assert_array_equal(getattr(again, name), getattr(table, name))
  for name in ("audio", "text"):
    assert again.features[name].dtype == np.float32
    np.testing.assert_array_equal(again.features[name], _arrays()[name])
  assert len(again) == 4
  assert again.label.tolist() == ["angry", "", "excited", "neutral"]
  assert again.session.tolist() == ["1", "1", "2", "1"]
  assert os.listdir(tmp_path / "new") == ["b.table"]


def test_types_that_mean_the_same_are_taken(tmp_path):
  path = _write(
    tmp_path / "a.npz",
    audio=None,
    text=np.ones((4, 3), np.float64),
    label=np.array([b"angry", b"sad", b"", b"hap"]),
    speaker=np.array([1, 2, 1, 2]),
    turn=np.array([0.0, 1.0, 0.0, 2.0]),
    session=np.array([1, 1, 2, 1]),
    visual=np.array([object()]),  # not of the contract: never read
  )
  table = tables.load(path)
  assert set(table.features) == {"text"}
  assert table.features["text"].dtype == np.float32
  assert table.label.tolist() == ["angry", "sad", "", "happy"]
  assert table.speaker.tolist() == ["1", "2", "1", "2"]
  assert table.turn.dtype == np.int64
  assert table.session.tolist() == ["1", "1", "2", "1"]


def test_latin_1_bytes_are_decoded(tmp_path):
  names = np.array(["Zoë".encode("latin-1")] * 4)
  table = tables.load(_write(tmp_path / "a.npz", speaker=names))
  assert set(table.speaker) == {"Zoë"}


def test_session_and_corpus_may_be_missing(tmp_path):
  table = tables.load(_write(tmp_path / "a.npz", session=None))
  assert table.session.tolist() == table.corpus.tolist() == [""] * 4
  names = np.array(["a", "a", "b", "b"])
  table = tables.load(_write(tmp_path / "b.npz", corpus=names))
  assert table.corpus.tolist() == names.tolist()


def test_identical_rows_have_one_fingerprint(tmp_path):
  audio = np.array([[1, 2], [0, 0], [1, 2], [-0.0, 0]], np.float32)
  label = np.array(["angry", "", "ang", "neu"])
  table = tables.load(_write(tmp_path / "a.npz", audio=audio, label=label))
  a, silent, b, none = table.fingerprint.tolist()
  assert a == b != ""
  assert silent == none == ""
  taken = table.take(np.array([3, 0]))
  assert taken.fingerprint.tolist() == ["", a]
  np.testing.assert_array_equal(taken.features["audio"], audio[[3, 0]])
  assert taken.turn.tolist() == table.turn[[3, 0]].tolist()
  assert len(table.take(table.turn < 0)) == 0
  # The same words with another voice are not the same recording, ...
  table = tables.load(_write(tmp_path / "b.npz", audio=None))
  assert table.fingerprint.tolist() == [""] * 4
  # ... and the same voice with other words is not either.
  text = np.arange(4, dtype=np.float32)[:, np.newaxis]
  table = tables.load(_write(tmp_path / "c.npz", audio=audio, text=text))
  a, silent, b, none = table.fingerprint.tolist()
  assert a != b
  assert silent == none == ""


def test_dialogues_are_in_the_order_of_turns_and_apart_by_session(tmp_path):
  table = tables.load(
    _write(
      tmp_path / "a.npz",
      dialogue=np.array(["1", "1", "1", "1"]),
      session=np.array(["1", "2", "1", "2"]),
      turn=np.array([5, 0, 3, 0]),
    )
  )
  found = [rows.tolist() for rows in tables.dialogues(table)]
  assert found == [[2, 0], [1, 3]]


@pytest.mark.parametrize(
  "name", ["Ses05", "Session5", "session_5", "05", "5", 5]
)
def test_sessions_are_normalised(name):
  assert normalise_session(name) == "5"


@pytest.mark.parametrize("name", ["", "morning", "5b"])
def test_other_session_names_stay(name):
  assert normalise_session(name) == name


NAN = np.array([[0, 1], [1, 2], [np.nan, 1], [2, 3]], np.float32)


@pytest.mark.parametrize(
  ("changes", "why"),
  [
    ({"label": None}, "no array label"),
    ({"speaker": None, "turn": None}, "no array speaker, turn"),
    ({"audio": None, "text": None}, "neither audio nor text"),
    ({"audio": np.ones((3, 2))}, r"audio has shape \(3, 2\)"),
    ({"audio": np.ones(4)}, r"audio has shape \(4,\)"),
    ({"audio": np.ones((4, 0))}, r"audio has shape \(4, 0\)"),
    ({"audio": np.full((4, 2), "x")}, "expected float32"),
    ({"audio": NAN}, "NaN or infinity in 1 of 4 rows, first in row 2.*'e'"),
    ({"text": np.full((4, 2), 1e300)}, "infinity in 4 of 4 rows"),
    ({"speaker": np.array(["A", " ", "A", "B"])}, "no speaker; first in row 1"),
    (
      {"speaker": np.array(["A", "NA", "A", "B"])},
      r"no speaker \('NA' reads as a missing value: .* first in row 1",
    ),
    ({"speaker": np.array(["A"])}, r"speaker has shape \(1,\)"),
    ({"label": np.array([["angry"] * 4])}, r"label has shape \(1, 4\)"),
    ({"label": np.array("angry")}, r"label has shape \(\)"),
    ({"label": np.array([], str)}, "label is empty"),
    ({"label": np.array(["angry", "hapy", "sad", ""])}, "did you mean happy"),
    ({"turn": np.array([0, 1, 2, 0.5])}, "turn has type float64"),
    ({"turn": np.array(["0", "1", "2", "x"])}, "turn has type"),
    ({"speaker": np.array(["A", "B", "A", None])}, "speaker is no plain array"),
  ],
)
def test_tables_that_break_the_contract(tmp_path, changes, why):
  path = _write(tmp_path / "a.npz", **changes)
  with pytest.raises(UserError, match=why) as caught:
    tables.load(path)
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)


class _Trap:
  """Leaves a marker when it is unpickled."""

  def __init__(self, marker):
    self.marker = str(marker)

  def __reduce__(self):
    return os.mkdir, (self.marker,)


def test_no_pickle_is_unpickled(tmp_path):
  trap = _Trap(tmp_path / "marker")
  inside = _write(tmp_path / "a.npz", speaker=np.array([trap] * 4))
  outside = tmp_path / "b.npz"
  outside.write_bytes(pickle.dumps(trap))
  for path in (inside, outside):
    with pytest.raises(UserError):
      tables.load(path)
  assert not (tmp_path / "marker").exists()


def test_files_that_are_no_table(tmp_path):
  whole = _write(tmp_path / "a.npz")
  contents = {
    "half": whole.read_bytes()[:-200],
    "empty": b"",
    "text": b"label,speaker",
    "flipped": whole.read_bytes().replace(np.float32(1).tobytes(), b"\0\0\0\0"),
  }
  for name, content in contents.items():
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=r"not a whole \.npz file"):
      tables.load(tmp_path / name)
  with pytest.raises(UserError, match="no such file"):
    tables.load(tmp_path / "missing.npz")
  with pytest.raises(UserError, match=r"not a whole \.npz file"):
    tables.load(tmp_path)


def test_a_full_disk_leaves_the_old_table(tmp_path):
  table = tables.load(_write(tmp_path / "a.npz"))
  path = tmp_path / "out" / "b.npz"
  tables.save(path, table)
  before = path.read_bytes()
  large = dataclasses.replace(
    table, features={"audio": np.ones((4, 100_000), np.float32)}
  )
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  # A file may not grow past this: the write fails halfway as on a full disk.
  resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
  try:
    with pytest.raises(UserError, match="no room on the disk"):
      tables.save(path, large)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert path.read_bytes() == before
  assert os.listdir(path.parent) == ["b.npz"]


def test_a_bad_table_is_not_written(tmp_path):
  table = tables.load(_write(tmp_path / "a.npz"))
  bad = dataclasses.replace(table, features={"audio": NAN})
  with pytest.raises(UserError, match="NaN"):
    tables.save(tmp_path / "b.npz", bad)
  assert not (tmp_path / "b.npz").exists()


def test_two_spellings_of_a_name_are_one(tmp_path, caplog):
  path = _write(
    tmp_path / "a.npz",
    speaker=np.array(["Zoë", "ZOË ", "zoe\u0308", "Bo"]),
    dialogue=np.array(["D", "d", "d", "D"]),
    session=np.array(["x", "X", "y", "x"]),
    turn=np.array(["0", "1.0", "0", "2"]),
  )
  table = tables.load(path)
  assert table.speaker.tolist() == ["Zoë", "Zoë", "Zoë", "Bo"]
  assert table.dialogue.tolist() == ["D", "D", "d", "D"]
  assert table.session.tolist() == ["x", "x", "y", "x"]
  assert table.turn.tolist() == [0, 1, 0, 2]
  assert "'zoe\u0308' for 'Zoë'" in caplog.text


def test_values_of_pandas(tmp_path):
  path = _write(
    tmp_path / "a.npz",
    speaker=np.array(["1.0", "2.0", "1", "2"]),
    session=np.array(["1.0", "nan", "2.0", "2.0"]),
    label=np.array(["angry", "nan", "None", "sad"]),
  )
  table = tables.load(path)
  assert table.speaker.tolist() == ["1", "2", "1", "2"]
  assert table.session.tolist() == ["1", "", "2", "2"]
  assert table.label.tolist() == ["angry", "", "", "sad"]


def test_two_ways_to_number_a_session_are_named(tmp_path, caplog):
  sessions = np.array(["1", "01", "morning", "Morning"])
  table = tables.load(_write(tmp_path / "a.npz", session=sessions))
  assert table.session.tolist() == ["1", "1", "morning", "morning"]
  assert "'01' for '1', 'Morning' for 'morning'" in caplog.text


def test_rows_that_are_there_again(tmp_path, caplog):
  again = np.array([0, 1, 2, 0, 2])
  doubled = {name: values[again] for name, values in _arrays().items()}
  table = tables.load(_write(tmp_path / "a.npz", **doubled))
  np.testing.assert_array_equal(table.features["audio"], _arrays()["audio"][:3])
  assert (
    "2 rows are there twice and count once; the first: row 3" in caplog.text
  )
  doubled["label"] = np.array(["angry", "", "exc", "sad", "exc"])
  why = r"row 0 \(dialogue 'd'.*row 3 .*'angry' and 'sad' \(1 such in all\)"
  with pytest.raises(UserError, match=why):
    tables.load(_write(tmp_path / "b.npz", **doubled))
  # Words alone may be said again.
  table = tables.load(_write(tmp_path / "c.npz", **doubled | {"audio": None}))
  assert len(table) == 5


def test_arrays_that_are_not_used_are_named(tmp_path, caplog):
  tables.load(_write(tmp_path / "a.npz", visual=np.ones(4), names=np.ones(4)))
  assert "a.npz: arrays not used: visual, names" in caplog.text


def _header(shape: str, descr: str = "'<f4'") -> bytes:
  text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"
  return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF, 0xD800])
@pytest.mark.parametrize("name", ["label", "speaker", "turn"])
def test_characters_that_there_are_not(tmp_path, name, code):
  damaged = np.full(4, code, "<u4").view("<U1")
  for array in (damaged, damaged.byteswap().view(">U1")):
    path = _write(tmp_path / "a.npz", **{name: array})
    with pytest.raises(UserError, match=f"{name} has type"):
      tables.load(path)


@pytest.mark.parametrize(
  ("content", "why"),
  [
    (_header("(1000000, 1000000)"), "audio holds 0 "),
    (_header("(-1, 4)"), "audio holds 0 bytes"),
    (_header(f"({'9' * 300}, 1)"), "audio holds 0 bytes"),
    (_header("(4, 2)", "'|O'"), "audio is no plain array .*objects"),
    (_header("(" * 3000), "a.npz: "),
    (_header("(4, 2)", "[('a', '<f4')]") + bytes(32), "audio has type"),
    (b"\x93NUMPY\3\0" + bytes(9), "audio is no plain array"),
    (b"\x93NUMPY\1\0\xff\xff{", "audio is no plain array"),
    (b"", "audio is no plain array"),
  ],
)
def test_headers_that_lie(tmp_path, content, why):
  path = _write(tmp_path / "a.npz", audio=None)
  with zipfile.ZipFile(path, "a") as archive:
    archive.writestr("audio.npy", content)
  with pytest.raises(UserError, match=why) as caught:
    tables.load(path)
  assert "\n" not in str(caught.value)


def test_an_archive_that_unpacks_to_all_memory(tmp_path, monkeypatch):
  monkeypatch.setattr(tables, "_LARGE", 1 << 20)
  path = tmp_path / "a.npz"
  np.savez_compressed(path, **_arrays(audio=np.zeros((1, 1 << 19), "f4")))
  with pytest.raises(UserError, match=r"audio unpacks .* bytes to 2097280: no"):
    tables.load(path)


def test_an_array_that_is_there_twice(tmp_path):
  path = _write(tmp_path / "a.npz")
  with zipfile.ZipFile(path, "a") as archive:
    archive.writestr("Label.npy", b"")
  with pytest.raises(UserError, match="holds 'label' twice"):
    tables.load(path)


def test_several_corpora_may_have_the_same_names(tmp_path, make_table):
  table = make_table()
  count = len(table)
  names = np.resize(["01", "02 & 03"], count)
  table = dataclasses.replace(
    table,
    corpus=np.resize(["x", "x", "y", "y"], count),
    speaker=names,
    dialogue=np.full(count, "1"),
    session=np.full(count, ""),
  )
  tables.save(tmp_path / "a.npz", table)
  first = tables.load(tmp_path / "a.npz")
  four = ["x:01", "x:02 & x:03", "y:01", "y:02 & y:03"]
  assert first.speaker[:4].tolist() == four
  assert set(first.session.tolist()) == {""}
  assert len(tables.dialogues(first)) == 2
  tables.save(tmp_path / "b.npz", first)  # As `emojax features` writes it.
  again = tables.load(tmp_path / "b.npz")
  for name in ("speaker", "dialogue", "session", "corpus"):
    np.testing.assert_array_equal(getattr(again, name), getattr(first, name))


def test_utterances_are_known_by_their_features_or_by_who_speaks_where(
  tmp_path, make_table
):
  table = make_table()
  for features in (table.features, {"text": table.features["text"]}):
    saved = dataclasses.replace(table, features=features)
    tables.save(tmp_path / "table.npz", saved)
    found = tables.load(tmp_path / "table.npz")
    names = duplicates.identities(found)
    assert len(set(names.tolist())) == len(table)
    rows = np.arange(len(table))[::-1]
    np.testing.assert_array_equal(
      duplicates.identities(found.take(rows)), names[rows]
    )
  assert names[0] == "/1/0/0/1F"
