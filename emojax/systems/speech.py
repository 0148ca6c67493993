"""A speech emotion classifier from its description, and on disk.

The description is plain JSON. Training writes it beside the best weights;
prediction builds the same classifier from it, without any code of training.
"""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Self

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError
from safetensors import SafetensorError

from emojax import encoders
from emojax.audio import io
from emojax.encoders import Encoder
from emojax.errors import UserError
from emojax.models.speech_classifier import SpeechClassifier
from emojax.runtime import files as runtime_files
from emojax.runtime import tensors
from emojax.weights import json_files

STUDY = "speech"
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

_FOLDER = "model"  # In that of the run.
_DESCRIPTION = "system.json"
_WEIGHTS = "weights.safetensors"
_LONGEST_WINDOW = 86_400.0
_LOWEST_DB = -120.0  # Below what 16 bits can tell from silence.
# What values that make no sense raise, wherever they are first made use of.
_DAMAGES = (
  *(ArithmeticError, AssertionError, AttributeError, LookupError, OSError),
  *(RecursionError, TypeError, ValueError, FlaxError, SafetensorError),
)


@dataclasses.dataclass(frozen=True)
class SpeechSystem:
  """All of a speech emotion classifier (`SpeechClassifier`) but its weights."""

  encoder: Encoder
  classes: tuple[str, ...]
  window_seconds: float  # The longest piece of a recording it sees at once.
  pooling: str
  weigh_layers: bool
  averaged_frames: int
  hidden: int
  dropout: float
  dtype: str = "float32"  # Of the encoder's computation, of `DTYPES`.
  num_domains: int = 0
  # By which logits are divided before the softmax; fitted on validation.
  temperature: float = 1.0
  # What a live system has to know; None in what was trained before it was kept.
  # The confidence below which nothing is claimed, see `calibration.threshold`.
  threshold: float | None = None
  # Of the speech of training clips, see `levels.speech_db`.
  level_db: float | None = None

  @property
  def sample_rate(self) -> int:
    """Of its input, samples a second."""
    return self.encoder.sample_rate

  @property
  def window_samples(self) -> int:
    """`window_seconds` in samples."""
    return round(self.window_seconds * self.sample_rate)

  def model(self, remat: bool = False) -> SpeechClassifier:
    """The classifier as a Flax module; `remat`: see `Encoder.module`."""
    return SpeechClassifier(
      self.encoder.module(DTYPES[self.dtype], remat),
      len(self.classes),
      self.pooling,
      self.weigh_layers,
      self.averaged_frames,
      self.hidden,
      self.dropout,
      self.num_domains,
    )

  def num_frames(self, num_samples):
    """What the head reads of a clip by its length, or of an array of clips."""
    return -(-self.encoder.num_frames(num_samples) // self.averaged_frames)

  def prepare(self, audio_BxS: jax.Array, lengths_B: jax.Array) -> jax.Array:
    """What the model reads, of int16 samples or float32 with full scale at 1.

    They are zero after the end of a clip.
    """
    return self.encoder.preprocess(to_float(audio_BxS), lengths_B)

  def init(self, key: jax.Array) -> Any:
    """Draws all parameters at random."""
    num_samples = 4 * self.encoder.min_samples
    example = jnp.zeros((1, num_samples)), jnp.full(1, num_samples)
    return self.model().init(key, *example)["params"]

  def apply(
    self,
    model: SpeechClassifier,
    params: Any,
    inputs: jax.Array,
    lengths_B: jax.Array,
    train: bool = False,
    reversal: jax.Array | float = 0.0,
    train_encoder: bool = False,
    rngs: Mapping[str, jax.Array] | None = None,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Logits [B, C] and the intermediates; see `SpeechClassifier.__call__`.

    The inputs are audio [B, S], see `prepare`, with lengths in samples; or
    features [B, T, L, D] of the encoder with lengths in frames.
    """
    variables = {"params": params}
    if inputs.ndim == 2:
      audio_BxS = self.prepare(inputs, lengths_B)
      arguments = (audio_BxS, lengths_B, train, reversal, train_encoder)
      return model.apply(variables, *arguments, rngs=rngs)
    mask_BxT = jnp.arange(inputs.shape[1])[None] < lengths_B[:, None]
    arguments = (inputs, mask_BxT, train, reversal)
    return model.apply(
      variables, *arguments, rngs=rngs, method=SpeechClassifier.classify
    )

  @functools.cached_property
  def forward(self) -> Callable:
    """Compiled: params, int16 [B, S], lengths [B] to what `apply` gives."""
    return jax.jit(functools.partial(self.apply, self.model()))

  def attend(
    self, params: Any, samples_S: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where in a clip, int16, the classifier listens.

    Returns:
      The samples of its first window; of each frame the middle, in seconds,
      [T]; and its weight in the pooling, [T].
    """
    samples_S = samples_S[: self.window_samples]
    lengths_B = np.array([len(samples_S)])
    _, out = self.forward(params, samples_S[None], lengths_B)
    num_frames = self.num_frames(len(samples_S))
    weights_T = np.asarray(out["attention"])[0, :num_frames]
    samples = self.averaged_frames * self.encoder.samples_per_frame
    seconds = samples / self.sample_rate
    return samples_S, (np.arange(num_frames) + 0.5) * seconds, weights_T

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """Reads what `to_json` gives."""
    known = {
      "classes": tuple(fields["classes"]),
      "encoder": encoders.from_json(fields["encoder"]),
    }
    return cls(**{**fields, **known})

  def to_json(self) -> dict[str, Any]:
    return {**dataclasses.asdict(self), "encoder": self.encoder.to_json()}


def to_float(samples: jax.Array) -> jax.Array:
  """int16 samples as float32, full scale at 1; floating point as it is."""
  if jnp.issubdtype(samples.dtype, jnp.floating):
    return samples
  return samples.astype(jnp.float32) / io.FULL_SCALE


def files(system: SpeechSystem, params: Any) -> dict:
  """What a run leaves of a system: writers by file name."""
  text = json.dumps({"study": STUDY, **system.to_json()}, indent=2)
  return {
    f"{_FOLDER}/{_WEIGHTS}": lambda path: tensors.save(path, params),
    f"{_FOLDER}/{_DESCRIPTION}": lambda path: path.write_text(
      text + "\n", encoding="utf-8"
    ),
  }


def load(run: pathlib.Path) -> tuple[SpeechSystem, Any]:
  """Reads the system of a finished run, of its best initialisation.

  Its parameters are NumPy arrays.

  Raises:
    UserError: no finished run, one of another study, or a damaged one.
  """
  _check_run(run)
  folder = run / _FOLDER
  system = _read_description(run, folder / _DESCRIPTION)
  path = folder / _WEIGHTS
  try:
    params = tensors.load(path)
    # Finds what makes no system, and what is missing or of another shape.
    shapes = jax.eval_shape(system.init, jax.random.key(0))
  except _DAMAGES as error:
    why = runtime_files.instead(path) or f"damaged ({_line(error)})"
    raise UserError(f"{path}: {why}; or train it again") from error
  found = flax.traverse_util.flatten_dict(params, sep="/")
  wanted = flax.traverse_util.flatten_dict(shapes, sep="/")
  wrong = dict.fromkeys(wanted.keys() - found, "missing")
  wrong |= dict.fromkeys(found.keys() - wanted, "unexpected")
  for name in found.keys() & wanted:
    if found[name].shape != wanted[name].shape:
      wrong[name] = f"{found[name].shape} instead of {wanted[name].shape}"
    elif found[name].dtype != wanted[name].dtype:
      wrong[name] = f"{found[name].dtype} instead of {wanted[name].dtype}"
    elif not np.isfinite(found[name]).all():
      wrong[name] = "NaN or infinite"
  if wrong:
    first = min(wrong)
    raise UserError(
      f"{path}: damaged, or not of the {_DESCRIPTION} beside it ({len(wrong)} "
      f"tensors do not fit; {first} is {wrong[first]}); train it again"
    )
  return system, params


def _check_run(run: pathlib.Path) -> None:
  """Tells what is no finished run, or one that was copied in part."""
  if not (run / "summary.json").is_file():
    mend = "train it first, with launch.py --config=configs/speech.py"
    folder = run.parent if run.is_file() else run
    if folder.name == _FOLDER and (folder / _DESCRIPTION).is_file():
      mend = f"give the folder that holds it, {folder.parent}"
    raise UserError(f"{run}: no finished run (it has no summary.json); {mend}")
  for name in (_DESCRIPTION, _WEIGHTS):
    path = run / _FOLDER / name
    if not path.is_file():
      _check_study(run)
      raise UserError(
        f"{path}: no such file; name the folder of a finished run of "
        f"configs/speech.py, or copy its folder {_FOLDER} too"
      )


def _check_study(run: pathlib.Path) -> None:
  """Tells a run of a study that leaves no classifier of clips."""
  try:
    study = json_files.read(run / "summary.json").get("study")
  except UserError:  # Nothing that would say it.
    return
  if isinstance(study, str) and study != STUDY:
    raise UserError(
      f"{run}: a run of another study ({study!r:.80}); python -m emojax report "
      f"{run} shows what it found, and this takes a run of configs/speech.py"
    )


def _read_description(run: pathlib.Path, path: pathlib.Path) -> SpeechSystem:
  fields = json_files.read(path, "train it again")
  if (study := fields.pop("study", None)) != STUDY:
    raise UserError(
      f"{run}: a run of another study ({study!r:.80}), which has no speech "
      "emotion classifier; name a run of configs/speech.py"
    )
  try:
    system = SpeechSystem.from_json(fields)
    if not 0 < system.temperature < math.inf:
      raise ValueError("temperature has to be above 0")
    if system.threshold is not None and not 0 <= system.threshold <= 1:
      raise ValueError("threshold has to be within 0 and 1")
    if system.level_db is not None and not _LOWEST_DB < system.level_db <= 0:
      raise ValueError("level_db has to be within -120 and 0")
    if not 0 < system.window_seconds < _LONGEST_WINDOW:
      raise ValueError("window_seconds has to be above 0 and below a day")
    if not isinstance(fields["classes"], list) or not all(
      isinstance(name, str) for name in system.classes
    ):
      raise ValueError("classes have to be words")
    if len(set(system.classes)) < max(len(system.classes), 1):
      raise ValueError("classes have to differ")
    system.model()  # Finds what is missing or of another type.
  except (UserError, *_DAMAGES) as error:
    raise UserError(
      f"{path}: damaged ({_line(error)}); train it again"
    ) from error
  return system


def _line(error: Exception) -> str:
  return " ".join(str(error).split())[:200] or type(error).__name__
