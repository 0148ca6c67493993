"""Says which emotion faces have: python run.py IMAGE …

One face fills each image: what finds faces is no part of the program.
"""

import json
import pathlib
import sys

import numpy as np
from PIL import Image, ImageOps

FOLDER = pathlib.Path(__file__).parent


def pixels(path: str, height: int, width: int, channels: int) -> np.ndarray:
  """uint8 [H, W, C] of an image of any size and colours."""
  try:
    with Image.open(path) as file:
      image = ImageOps.exif_transpose(file)
  except OSError as error:
    sys.exit(f"{path}: {error}")
  if image.mode.startswith(("I", "F")):  # Nobody knows which value is white.
    sys.exit(f"{path}: pixels of type {image.mode}; expected 8 bits a channel")
  if image.has_transparency_data:  # What is transparent is white.
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image)
  image = image.convert({1: "L", 3: "RGB"}[channels])
  if image.size != (width, height):
    image = image.resize((width, height), Image.Resampling.BILINEAR)
  return np.asarray(image, np.uint8).reshape(height, width, channels)


def main() -> None:
  """Prints a line for each image: emotion, probability, path."""
  import program

  if not sys.argv[1:]:
    sys.exit(__doc__)
  card = json.loads((FOLDER / "card.json").read_text(encoding="utf-8"))
  form = card["inputs"]["images"]["shape"][1:]
  call = program.load(FOLDER)
  for path in sys.argv[1:]:
    (found,) = call(images=pixels(path, *form)[None])["probabilities"]
    print(f"{card['classes'][found.argmax()]}\t{found.max():.6f}\t{path}")


if __name__ == "__main__":
  main()
