"""What the house itself has written, command lines, and what is downloaded."""

import bz2
import contextlib
import functools
import gzip
import json
import lzma
import pathlib
import sys
import tempfile
from unittest import mock

import flax
import jax
import ml_collections
import numpy as np
from absl import flags
from hypothesis import strategies as st
from ml_collections import config_flags

from configs import dann, rlps
from configs import speech as speech_config
from emojax import cli
from emojax import summary as summaries
from emojax.encoders import Encoder
from emojax.encoders.log_mel import LogMel
from emojax.reports import report
from emojax.runtime import archives, tensors
from emojax.summary import (
  BEST_EPOCH,
  Comparison,
  Estimate,
  Row,
  Summary,
  System,
)
from emojax.systems import speech, stored
from experiments.robustness import edits, pictures, tables, weights
from experiments.robustness.guard import require
from experiments.robustness.parser import Parser

_ROOT = pathlib.Path(__file__).parents[2]


def _written(write, suffix: str) -> bytes:
  """What a function writes to a path."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, f"file{suffix}")
    write(path)
    return path.read_bytes()


def _system() -> edits.Files:
  system = speech.SpeechSystem(
    encoder=LogMel((4,)),
    classes=("angry", "neutral", "sad"),
    window_seconds=1.0,
    pooling="attention",
    weigh_layers=False,
    averaged_frames=1,
    hidden=8,
    dropout=0.3,
    temperature=1.7,
  )
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
    jax.eval_shape(system.init, jax.random.key(0)),
  )
  files = {
    name: _written(write, pathlib.Path(name).suffix)
    for name, write in stored.writers(system, params).items()
  }
  return {**files, "summary.json": b"{}"}


def _load_system(folder: pathlib.Path) -> None:
  system, params = stored.load(folder, speech.SpeechSystem)
  require(len(system.classes) > 1, "fewer than two classes")
  require(
    all(isinstance(name, str) for name in system.classes), "classes of no text"
  )
  require(isinstance(system.encoder, Encoder), "no encoder")
  require(0 < system.window_samples < 2**40, f"{system.window_samples} samples")
  require(0 < system.temperature < np.inf, f"temperature {system.temperature}")
  samples = max(system.encoder.min_samples, min(system.window_samples, 16_000))
  inputs = np.zeros((1, samples), np.int16), np.array([samples], np.int32)
  # As `predict` begins, which says where they do not match.
  with contextlib.suppress(flax.errors.FlaxError):
    jax.eval_shape(
      functools.partial(system.apply, system.model()), params, *inputs
    )


_SYSTEM = _system()


def _tensors_of_system() -> dict[str, np.ndarray]:
  content = _SYSTEM["model/weights.safetensors"]
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "x")
    path.write_bytes(content)
    return flax.traverse_util.flatten_dict(tensors.load(path), sep="/")


def _summary() -> Summary:
  estimates = {
    name: Estimate.of([0.5, 0.6, 0.7 + place / 100])
    for place, name in enumerate(summaries.METRICS)
  }
  pair = ("shuffle", "small", "log_mel", "macro_f1")
  return Summary(
    study="speech",
    title="A study",
    demo=False,
    classes=("angry", "sad"),
    selection=BEST_EPOCH,
    metrics=tuple(summaries.METRICS),
    systems=(System("small", "Small"), System("log_mel", "log-mel CNN")),
    rows=tuple(
      Row("shuffle", name, estimates, {}, {"class_recall": {"sad": None}})
      for name in ("small", "log_mel")
    ),
    comparisons=(
      Comparison(*pair, 0.1, (0.0, 0.2), 0.25, summaries.SIGN_FLIPS),
    ),
    versions={"jax": "0.10.2"},
    device="cpu",
    runs=({"setting": "shuffle", "system": "small", "seed": 0},),
    curve="macro_f1",
    test_digest="x",
    date="2026-11-26",
  )


_HISTORY = {
  f"shuffle/{name}/macro_f1": np.linspace(0, 1, 12).reshape(3, 4)
  for name in ("small", "log_mel")
}
_RUN = {
  "summary.json": _written(
    lambda path: summaries.write(path, _summary()), ".json"
  ),
  "history.npz": _written(lambda path: np.savez(path, **_HISTORY), ".npz"),
  "config.json": b"{}",
}
_RUNS = {
  f"{run}/{name}": content for run in "ab" for name, content in _RUN.items()
}


def _read_summary(folder: pathlib.Path) -> None:
  found = summaries.read(folder)
  require(isinstance(found.title, str), "a title that is no text")
  require(
    all(isinstance(name, str) for name in found.metrics), "metrics of no text"
  )
  for row in found.rows:
    figures = list(row.metrics.values())
    require(
      all(isinstance(value, Estimate) for value in figures), "no estimate"
    )
    for value in figures:
      numbers = [value.mean, value.std, *value.runs, *(value.ci95 or ())]
      finite = [isinstance(x, int | float) and np.isfinite(x) for x in numbers]
      require(all(finite), "a figure that is no number")
      require(len(value.runs) > 0, "an estimate of no runs")
  label = found.label(found.rows[0].system) if found.rows else ""
  require(isinstance(label, str), "a label that is no text")


def _report(folder: pathlib.Path) -> None:
  text = report.report([folder / "a", folder / "b"], folder.parent / "report")
  require(text.isascii() or text.strip() != "", "no report")


_COMMANDS = {
  "dann": ("configs/dann.py", "table", "table.npz"),
  "speech": ("configs/speech.py", "manifest", "mine.csv"),
  "rlps": ("configs/rlps.py", "image_folder", "faces"),
}
_DATA = {
  **tables.TABLE,
  **tables.MANIFEST,
  **{f"faces/{name}": content for name, content in pictures.FOLDER.items()},
}


def _fields(
  config: ml_collections.ConfigDict, prefix: str = "config"
) -> list[str]:
  found = []
  for name in config:
    value = config[name]
    if isinstance(value, ml_collections.ConfigDict):
      found += [f"{prefix}.{name}", *_fields(value, f"{prefix}.{name}")]
    else:
      found.append(f"{prefix}.{name}")
  return found


_FIELDS = {
  name: [
    # What leads out of here: to the net, to other code, to any folder.
    field
    for field in _fields(module.get_config())
    if not field.endswith(("download", "trainer", "path", "paths", "encoder"))
  ]
  for name, module in (
    ("dann", dann),
    ("speech", speech_config),
    ("rlps", rlps),
  )
}
_VALUES = (
  *edits.TEXTS,
  *("()", "(1,)", "(0.5, -1)", "('a',)", "[1]", "{}", "(nan,)", "1e-400", "+1"),
  *("true", "TRUE", "no", "2", "3", "100", "-5", "0.1", "1000000000", "1e308"),
  *("(" * 300, "__import__('os').system('touch /tmp/emojax-fuzz-was-here')"),
  *(
    "k_fold",
    "leave_one_out",
    "speakers",
    "sessions",
    "spk0",
    "happy,sad",
    "'x'",
  ),
)


@st.composite
def _command(draw) -> edits.Files:
  """A command line with fields and values that there may not be."""
  name = draw(st.sampled_from(sorted(_COMMANDS)))
  arguments = []
  for _ in range(draw(st.integers(1, 3))):
    field = draw(st.sampled_from(_FIELDS[name]))
    value = draw(st.sampled_from(_VALUES))
    forms = ["--{}={}"] * 12 + [
      "--{} {}",
      "-{}={}",
      "{}={}",
      "--{}",
      "--{}x={}",
    ]
    forms += ["--no{}", "--{}.x={}", "--{}[0]={}", "--{}=={}", "--{}={},{}"]
    arguments.append(draw(st.sampled_from(forms)).format(field, value, value))
  # No argument of a program holds a zero byte.
  given = [one.replace("\0", "") for one in arguments]
  return {"commands.json": json.dumps({name: given}).encode(), **_DATA}


def _audit(folder: pathlib.Path) -> None:
  """As `python -m emojax audit` does."""
  commands = (folder / "commands.json").read_text(encoding="utf-8")
  for name, arguments in json.loads(commands).items():
    file, corpus, data = _COMMANDS[name]
    argv = ["audit", f"--config={_ROOT / file}"]
    argv += [f"--config.data.corpus={corpus}", "--config.data.labels=happy,sad"]
    argv += [f"--config.data.path={folder / data}"]
    if name == "dann":
      argv += ["--config.split.test_speakers=a"]
    argv += arguments
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values)
    with (
      mock.patch.object(flags, "FLAGS", values),
      mock.patch.object(sys, "argv", argv),
    ):
      config = cli.parse_config(argv, holder, "usage")
      require(bool(cli.trainer(config).audit(config)), "no split")


def _entries() -> dict[str, bytes]:
  return {
    f"Actor_01/03-01-0{n}-01-01-01-01.wav": bytes(100) for n in range(1, 5)
  }


_ZIP = {"archive.zip": tables.plain_zip(_entries())}


def _gzip(content: bytes) -> bytes:
  return gzip.compress(content, mtime=0)  # The same at any time.


@st.composite
def _packed(draw) -> edits.Files:
  """Archives as a download brings them, of ill will or damaged."""
  kind = draw(st.sampled_from(("zip", "zip", "tar.gz")))
  entries = _entries()
  if kind == "zip":
    content = draw(edits.zipped(entries, draw(st.booleans())))
  else:
    others = bytes, bz2.compress, lzma.compress
    pack = draw(st.sampled_from((_gzip,) * 6 + others))
    content = draw(edits.tarred(entries, pack))
  if draw(st.integers(0, 9)) == 0:
    content = draw(edits.replaced(content))
  return {f"archive.{kind}": content}


def _unpack(folder: pathlib.Path) -> None:
  (archive,) = folder.iterdir()
  content = folder.parent / "content"
  archives.unpack(archive, content)
  for path in content.rglob("*"):
    outside = not path.resolve().is_relative_to(content.resolve())
    require(not outside, f"{path} leads out of the folder")
    kind = path.is_file() or path.is_dir() or path.is_symlink()
    require(kind, "a device or a pipe")


_GOOD = {"dann": [], "rlps": [], "speech": []}

PARSERS = (
  Parser(
    *("trained system", 8, _SYSTEM),
    edits.folder(
      _SYSTEM,
      {
        "model/system.json": edits.json_tree,
        "model/weights.safetensors": lambda _: weights.spoilt_safetensors(
          _tensors_of_system()
        ),
      },
    ),
    _load_system,
  ),
  Parser(
    *("summary.json", 8, _RUN),
    edits.folder(_RUN, {"summary.json": edits.json_tree}),
    _read_summary,
  ),
  Parser(
    *("report of runs", 1, _RUNS),
    edits.folder(
      _RUNS,
      {
        "a/summary.json": edits.json_tree,
        "a/history.npz": lambda _: tables.npz(_HISTORY),
      },
    ),
    _report,
  ),
  Parser(
    *("command line", 8),
    {"commands.json": json.dumps(_GOOD).encode(), **_DATA},
    _command(),
    _audit,
    ("config", "flag"),
  ),
  Parser(*("archive", 6, _ZIP, _packed(), _unpack)),
)
