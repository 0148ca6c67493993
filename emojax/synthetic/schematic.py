"""Schematic faces: synthetic expressions without any photograph.

A person sets proportions, tones, hair and glasses; an emotion moves brows,
lids and mouth by the action units that the Emotional Facial Action Coding
System (Friesen & Ekman, 1983, "EMFACS-7") names for it; a camera adds pose,
light, contrast and noise.
"""

import itertools
import os
from collections.abc import Sequence
from concurrent import futures

import numpy as np

from emojax.synthetic import face_drawing
from emojax.synthetic.face_drawing import SIZE, Faces

_CHUNK = 8  # Faces drawn at once: few enough for the processor's cache.

# The action units of each emotion; see `Faces`.
EMOTIONS = {
  "angry": {"lower": 1.0, "lids": 0.4, "narrow": 0.7, "press": 1.0},
  "disgust": {
    "lower": 0.6,
    "narrow": 0.8,
    "wrinkle": 1.0,
    "lip": 1.0,
    "frown": 0.4,
  },
  "fearful": {
    "inner": 1.0,
    "outer": 0.5,
    "lower": 0.4,
    "lids": 0.9,
    "stretch": 1.0,
    "drop": 0.35,
  },
  "happy": {"narrow": 0.6, "smile": 1.0, "drop": 0.3},
  "neutral": {},
  "sad": {"inner": 1.0, "lower": 0.3, "lids": -0.5, "frown": 1.0},
  "surprised": {"inner": 0.9, "outer": 1.0, "lids": 0.8, "drop": 1.0},
}


def render(emotions: Sequence[str], seed: int) -> np.ndarray:
  """Draws a face for each emotion, each of another person.

  Args:
    emotions: N names in `EMOTIONS`.
    seed: the same one draws the same faces.

  Returns:
    uint8 [N, 48, 48].
  """
  rng = np.random.default_rng(seed)
  people = _people(emotions, rng)
  texture = rng.normal(0, 0.12, (len(emotions), 5, 5))
  grain = rng.standard_normal((len(emotions), SIZE, SIZE))

  def draw(start: int) -> np.ndarray:
    rows = slice(start, start + _CHUNK)
    of_rows = {k: v[rows].astype(np.float32) for k, v in vars(people).items()}
    return face_drawing.draw(Faces(**of_rows), texture[rows])

  # NumPy computes outside the interpreter's lock: threads suffice.
  with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    drawn = pool.map(draw, range(0, len(emotions), _CHUNK))
    tones = np.concatenate(list(drawn))
  tones = 0.5 + people.contrast * (tones - 0.5) + people.noise * grain
  return np.rint(255 * np.clip(tones, 0, 1)).astype(np.uint8)


def _people(emotions: Sequence[str], rng: np.random.Generator) -> Faces:
  """Draws all that varies from face to face."""
  shape = (len(emotions), 1, 1)

  def uniform(low: float, high: float) -> np.ndarray:
    return rng.uniform(low, high, shape)

  def normal(deviation: float) -> np.ndarray:
    return deviation * rng.standard_normal(shape)

  def some(share: float) -> np.ndarray:
    return (rng.random(shape) < share).astype(float)

  # From a slight expression to a strong one; no two people move alike.
  intensity = uniform(0.4, 1.15)
  units = {}
  for unit in dict.fromkeys(itertools.chain(*EMOTIONS.values())):
    mean = [EMOTIONS[emotion].get(unit, 0.0) for emotion in emotions]
    mean = np.reshape(mean, shape)
    units[unit] = mean * intensity * uniform(0.7, 1.2) + normal(0.08)
    if unit != "lids":
      units[unit] = np.maximum(units[unit], 0)
  skin = uniform(0.35, 0.85)
  return Faces(
    **units,
    skin=skin,
    hair=uniform(0.05, 0.65) * skin,
    long_hair=some(0.4),
    hairline=uniform(-0.72, -0.55),
    width=uniform(0.9, 1.1),
    spacing=uniform(0.9, 1.1),
    eyes=uniform(0.85, 1.2),
    brows=uniform(0.17, 0.24),
    bushiness=uniform(0.018, 0.042),
    nose=uniform(0.26, 0.36),
    mouth=uniform(0.85, 1.15),
    lips=uniform(0.03, 0.07),
    corners=normal(0.012),
    beard=some(0.2) * uniform(0.2, 0.6),
    glasses=some(0.15),
    tilt=normal(0.1),
    turn=normal(0.3),
    nod=normal(0.3),
    zoom=uniform(1.0, 1.25),
    shift_x=normal(0.05),
    shift_y=normal(0.05),
    light_x=normal(0.22),
    light_y=uniform(-0.25, 0.1),
    background=uniform(0.05, 0.95),
    contrast=uniform(0.75, 1.15),
    noise=uniform(0.01, 0.035),
  )
