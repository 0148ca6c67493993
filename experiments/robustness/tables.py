"""Annotations and features: manifests, IEMOCAP, MELD, tables, pickles."""

import io
import os
import pathlib
import pickle
import re
import zipfile
from collections.abc import Iterable

import numpy as np
from hypothesis import strategies as st

from emojax.corpora import speech
from emojax.corpora.labels import LABELS
from emojax.corpora.records import Utterance
from emojax.data import import_table
from emojax.data import table as feature_tables
from experiments.robustness import edits
from experiments.robustness.guard import require
from experiments.robustness.parser import Parser

_WAV = b"RIFF"  # Nobody decodes it here.


def check(utterances: Iterable[Utterance]) -> None:
  """Requires what `Utterance` says of its fields."""
  for one in utterances:
    require(one.label in (*LABELS, ""), f"label {one.label!r}"[:80])
    require(bool(one.speaker.strip()), "an empty speaker")
    require(bool(one.dialogue), "an empty dialogue")
    require(
      type(one.turn) is int and abs(one.turn) < 2**63, "a turn of no int64"
    )
    names = one.path, one.session, one.text
    require(all(isinstance(name, str) for name in names), "a field of no text")


def _both_ways(corpus: str, name: str = ""):
  """Reads a corpus with its audio, and for its text alone."""

  def read(folder: pathlib.Path) -> None:
    for needs_audio in (True, False):
      check(speech.read(corpus, folder / name, needs_audio))

  return read


MANIFEST = {
  "mine.csv": b"path,label,speaker,dialogue,turn,session,text\n"
  + b"".join(
    f"clips/{n}.wav,{label},s{n % 2},d{n // 3},{n},Ses0{n // 4},So\n".encode()
    for n, label in enumerate(("happy", "sad", "", "Angry", "neu", "joy"))
  ),
  **{f"clips/{n}.wav": _WAV for n in range(6)},
}

_EVALUATION = (
  "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
  + "".join(
    f"[{6 * n}.2901 - {6 * n + 2}.2357]\tSes01F_impro01_{who}00{n}\t{label}\t"
    f"[2.5000, 2.5000, 2.5000]\nC-E2:\tNeutral;\t()\n\n"
    for n, (who, label) in enumerate(
      zip("FMFM", ("neu", "xxx", "ang", "fru"), strict=True)
    )
  )
)
_TRANSCRIPT = "".join(
  f"Ses01F_impro01_{who}00{n} [00{6 * n}.2901-00{6 * n + 2}.2357]: Excuse me.\n"
  for n, who in enumerate("FMFM")
)
_IEMOCAP = {
  "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt": _EVALUATION.encode(),
  "Session1/dialog/transcriptions/Ses01F_impro01.txt": _TRANSCRIPT.encode(),
  **{
    f"Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_{who}00{n}.wav": _WAV
    for n, who in enumerate("FMFM")
  },
}

_MELD_FOLDERS = {
  "train": "train_splits",
  "dev": "dev_splits_complete",
  "test": "output_repeated_splits_test",
}
_MELD = {
  f"{part}_sent_emo.csv": (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
    + "".join(
      f'{n},"Oh no",{who},{label},neutral,{n // 2},{n % 2}\n'
      for n, (who, label) in enumerate(
        zip(
          ("Ross", "Monica", "Ross", "The Waiter"),
          ("neutral", "surprise", "joy", "disgust"),
          strict=True,
        )
      )
    )
  ).encode()
  for part in _MELD_FOLDERS
} | {
  f"{folder}/dia{n // 2}_utt{n % 2}.wav": _WAV
  for folder in _MELD_FOLDERS.values()
  for n in range(4)
}


_CLIPS = {
  "ravdess": (
    "Actor_01/03-01-06-01-02-01-01.wav",
    "Actor_02/03-01-05-02-01-02-02.wav",
  ),
  "crema_d": ("AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1002_IEO_HAP_HI.wav"),
  "emodb": ("wav/03a01Fa.wav", "wav/08b02Wb.wav"),
  "savee": ("AudioData/DC/a01.wav", "AudioData/JE/sa12.wav"),
  "tess": ("OAF_angry/OAF_back_angry.wav", "YAF_happy/YAF_bean_happy.wav"),
}


@st.composite
def _clip_names(draw) -> edits.Files:
  """Recordings whose names say who speaks how, with other names."""
  corpus = draw(st.sampled_from(sorted(_CLIPS)))
  files: edits.Files = {"corpus": corpus.encode()}
  for name in draw(
    st.lists(st.sampled_from(_CLIPS[corpus]), min_size=1, max_size=3)
  ):
    for _ in range(draw(st.integers(1, 2))):
      parts = re.split(r"([-_./])", name)
      index = draw(st.integers(0, len(parts) - 1))
      odd = [
        text for text in edits.TEXTS if "\0" not in text and len(text) < 200
      ]
      parts[index] = draw(
        st.one_of(st.sampled_from(odd), st.just(parts[index] * 2))
      )
      name = "".join(parts)
    # Within the folder, whatever it is.
    safe = [part for part in name.split("/") if part not in ("", ".", "..")]
    name = "/".join(
      part.encode()[:200].decode("utf-8", "ignore") for part in safe
    )
    if not any(
      other.startswith(name) or name.startswith(other) for other in files
    ):
      files[name or "x.wav"] = _WAV
  return files


def _read_clip_names(folder: pathlib.Path) -> None:
  corpus = (folder / "corpus").read_text(encoding="utf-8")
  check(speech.read(corpus, folder))


def _arrays() -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  return {
    "audio": rng.normal(size=(6, 3)).astype(np.float32),
    "text": rng.normal(size=(6, 2)).astype(np.float32),
    "label": np.array(["happy", "sad", "", "angry", "neutral", "joy"]),
    "speaker": np.array(list("ababab")),
    "dialogue": np.array(list("111222")),
    "turn": np.arange(6),
    "session": np.array(["Ses01"] * 6),
    "corpus": np.array(["mine"] * 6),
  }


class Hostile:
  """Pickled as a call that leaves a file behind where it is run."""

  def __reduce__(self):
    return os.system, ("touch /tmp/emojax-fuzz-was-here",)


def _odd_arrays() -> list[np.ndarray]:
  objects = np.array([Hostile(), 1], dtype=object)
  return [
    *(np.float64(0), np.zeros((0, 3)), np.zeros((6, 0)), np.zeros((6, 2, 2))),
    *(np.full((6, 3), np.nan), np.full((6, 3), 1e300), np.full(6, np.inf)),
    *(np.zeros(6, complex), np.zeros(6, "M8[s]"), np.zeros(6, bool), objects),
    *(np.full(6, 2**64 - 1, np.uint64), np.full(6, 1e19), np.full(6, -(2**63))),
    *(
      np.array([b"\xff\xfe"] * 6),
      np.array(["x" * 5000] * 6),
      np.full(6, "a\nb"),
    ),
    *(
      np.array([["a"]] * 6),
      np.zeros(6, "V8"),
      np.zeros(6, "i4,f4"),
      np.full(6, ""),
    ),
    *(np.arange(5), np.zeros((5, 3)), np.full(6, " Ses 01"), np.zeros(6, "f2")),
    *(np.zeros(6, ">f8"), np.zeros((6, 3), "g"), np.full(6, "\x1b[31m\0x")),
  ]


@st.composite
def npz(draw, arrays: dict[str, np.ndarray]) -> bytes:
  """Edits of a NumPy archive: its arrays, their headers, the archive."""
  found = dict(arrays)
  for _ in range(draw(st.integers(0, 2))):
    name = draw(st.sampled_from(sorted(arrays)))
    match draw(st.sampled_from(("odd", "odd", "odd", "lost", "name", "rows"))):
      case "odd":
        found[name] = draw(st.sampled_from(_odd_arrays()))
      case "lost":
        found.pop(name, None)
      case "name" if name in found:
        found[draw(st.sampled_from(("x", name.upper(), f" {name}")))] = (
          found.pop(name)
        )
      case "rows" if name in found:
        found[name] = np.asarray(found[name])[:: draw(st.sampled_from((-1, 2)))]
  entries = {}
  for name, array in found.items():
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    content = file.getvalue()
    if draw(st.integers(0, 3)) == 0:
      content = draw(_npy_header(content))
    entries[f"{name}.npy"] = content
  compress = draw(st.booleans())
  if draw(st.booleans()):
    return draw(edits.zipped(entries, compress))
  return plain_zip(entries)


def plain_zip(entries: dict[str, bytes]) -> bytes:
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w") as archive:
    for name, content in entries.items():
      archive.writestr(zipfile.ZipInfo(name), content)
  return file.getvalue()


@st.composite
def _npy_header(draw, content: bytes) -> bytes:
  """Another type, shape or order than that of the bytes behind it."""
  odd = (
    *(
      "'|O'",
      "'<f99'",
      "'<U999999999'",
      "[('a', '<f4')]",
      "'>U1'",
      "'V0'",
      "None",
    ),
    *(
      "(99999999999,)",
      "(-1,)",
      "(6, 99999999)",
      "()",
      "(6.0,)",
      "('6',)",
      "6",
    ),
    *("(" * 500, "__import__('os').system('touch /tmp/emojax-fuzz-was-here')"),
    *("{'a': 1}", "'<f4' * 99", "(10**30,)", "(0, 2**62)", "True"),
  )
  old = draw(
    st.sampled_from(
      (rb"'descr': ('[^']*')", rb"'shape': (\([^)]*\))", rb"order': (\w+)")
    )
  )
  match = re.search(old, content)
  if not match:
    return content
  new = draw(st.sampled_from(odd)).encode()
  header = content[: match.start(1)] + new + content[match.end(1) :]
  end = header.index(b"\n", match.start(1)) + 1
  if draw(st.booleans()):
    header = header[:8] + (end - 10).to_bytes(2, "little") + header[10:]
  return header


def _read_table(folder: pathlib.Path) -> None:
  _check_table(feature_tables.load(folder / "table.npz"))


def _check_table(table: feature_tables.FeatureTable) -> None:
  require(set(table.label.tolist()) <= {*LABELS, ""}, "unknown labels")
  require(all(map(str.strip, table.speaker.tolist())), "an empty speaker")
  require(table.turn.dtype == np.int64, f"turn of type {table.turn.dtype}")
  for name, matrix in table.features.items():
    require(matrix.dtype == np.float32, f"{name} of type {matrix.dtype}")
    require(
      matrix.ndim == 2 and len(matrix) == len(table), f"{name}: its shape"
    )
    require(bool(np.isfinite(matrix).all()), f"{name} is not finite")


def _content() -> list:
  rng = np.random.default_rng(0)
  names = {
    "Ses01F_impro01": ("F000", "M000", "M001"),
    "Ses05M_script01_1": ("M000",),
  }

  def features(size):
    return {
      dialogue: rng.normal(size=(len(turns), size)).astype(np.float32)
      for dialogue, turns in names.items()
    }

  def each(function):
    return {
      dialogue: [function(dialogue, turn) for turn in turns]
      for dialogue, turns in names.items()
    }

  return [
    each(lambda dialogue, turn: f"{dialogue}_{turn}"),
    each(lambda _, turn: turn[0]),
    each(lambda _, turn: int(turn[-1])),
    features(3),
    {dialogue: list(rows) for dialogue, rows in features(4).items()},
    features(2),
    each(lambda *_: "Caf\xe9"),
    {"Ses01F_impro01"},
    ["Ses05M_script01_1"],
  ]


@st.composite
def _pickled(draw) -> bytes:
  """Pickles of other content, of any protocol, hostile ones among them."""
  odd = [
    Hostile(),
    *_odd_arrays(),
    np.float32(1),
    np.int64(3),
    b"x",
    {1, 2},
    1j,
  ]
  odd += [
    np.float64("nan"),
    range(3),
    (1, (2,)),
    frozenset({"x"}),
    bytearray(b"x"),
  ]
  content = draw(edits.tree(_content(), odd))
  if isinstance(content, list) and draw(st.integers(0, 9)):
    content = tuple(content)
  return pickle.dumps(content, draw(st.integers(0, 5)))


_PROGRAMS = (
  b"cos\nsystem\n(S'touch /tmp/emojax-fuzz-was-here'\ntR.",
  b"c__builtin__\neval\n(S'1'\ntR.",
  b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x011\x85R.",
  b"(lp0\n" + b"g0\na" * 9 + b".",  # A list in itself.
  b"}" * 100_000 + b".",
  b"]" + b"\x85" * 50_000 + b".",
  b"(" * 100_000 + b"t" * 100_000 + b".",
  b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # Eight exabytes.
  b"\x8a\xff" + b"\x01" * 255 + b".",
  b"\x8b\xff\xff\xff\x7f.",
  b"I" + b"7" * 10_000 + b"\n.",
  b"L" + b"7" * 5_000 + b"L\n.",
  b"X\xff\xff\xff\xffx.",
  b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR.",
  b"2" * 1000 + b".",
  b"]" + b"2" * 20 + b"a" * 20 + b".",
)


def _import(folder: pathlib.Path) -> None:
  made = import_table.import_pickle(folder / "a.pkl", folder / "out.npz")
  _check_table(made)
  _check_table(feature_tables.load(folder / "out.npz"))


def _npz_file() -> bytes:
  file = io.BytesIO()
  np.savez(file, **_arrays())
  return file.getvalue()


TABLE = {"table.npz": _npz_file()}
_PICKLE = {"a.pkl": pickle.dumps(tuple(_content()), 2)}

PARSERS = (
  Parser(
    *("manifest", 10, MANIFEST),
    edits.folder(MANIFEST, {"mine.csv": edits.rows()}),
    _both_ways("manifest", "mine.csv"),
  ),
  Parser(
    *("feature table", 8, TABLE),
    edits.folder(TABLE, {"table.npz": lambda _: npz(_arrays())}),
    _read_table,
  ),
  Parser(
    *("pickle of features", 10, _PICKLE),
    edits.folder(
      _PICKLE,
      {"a.pkl": lambda _: st.one_of(_pickled(), st.sampled_from(_PROGRAMS))},
    ),
    _import,
  ),
  Parser(
    *("IEMOCAP", 8, _IEMOCAP),
    edits.folder(
      _IEMOCAP,
      {name: edits.rows("\t", False) for name in _IEMOCAP if "dialog" in name},
    ),
    _both_ways("iemocap"),
  ),
  Parser(
    *("MELD", 8, _MELD),
    edits.folder(
      _MELD, {name: edits.rows() for name in _MELD if name.endswith("csv")}
    ),
    _both_ways("meld"),
  ),
  Parser(
    *("names of clips", 4),
    {"corpus": b"ravdess", **dict.fromkeys(_CLIPS["ravdess"], _WAV)},
    _clip_names(),
    _read_clip_names,
  ),
)
