"""A speech emotion classifier from its description."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from emojax import encoders
from emojax.audio import io
from emojax.encoders import Encoder
from emojax.models.speech_classifier import SpeechClassifier

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

_LONGEST_WINDOW = 86_400.0
_LOWEST_DB = -120.0  # Below what 16 bits can tell from silence.


@dataclasses.dataclass(frozen=True)
class SpeechSystem:
  """All of a speech emotion classifier (`SpeechClassifier`) but its weights."""

  kind: ClassVar[str] = "speech"

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

  def shapes(self) -> Any:
    """The shapes and types of all parameters."""
    return jax.eval_shape(self.init, jax.random.key(0))

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
    # Filled up to one length, so that all clips are one program's.
    filled_1xS = np.zeros((1, self.window_samples), samples_S.dtype)
    filled_1xS[0, : len(samples_S)] = samples_S
    _, out = self.forward(params, filled_1xS, lengths_B)
    num_frames = self.num_frames(len(samples_S))
    weights_T = np.asarray(out["attention"])[0, :num_frames]
    samples = self.averaged_frames * self.encoder.samples_per_frame
    seconds = samples / self.sample_rate
    return samples_S, (np.arange(num_frames) + 0.5) * seconds, weights_T

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """Reads what `to_json` gives.

    Raises:
      ValueError: a number out of its range; and whatever else values raise that
        make no system.
    """
    known = {
      "classes": tuple(fields["classes"]),
      "encoder": encoders.from_json(fields["encoder"]),
    }
    system = cls(**{**fields, **known})
    if system.threshold is not None and not 0 <= system.threshold <= 1:
      raise ValueError("threshold has to be within 0 and 1")
    if system.level_db is not None and not _LOWEST_DB < system.level_db <= 0:
      raise ValueError("level_db has to be within -120 and 0")
    if not 0 < system.window_seconds < _LONGEST_WINDOW:
      raise ValueError("window_seconds has to be above 0 and below a day")
    system.model()  # Finds what is missing or of another type.
    return system

  def to_json(self) -> dict[str, Any]:
    return {**dataclasses.asdict(self), "encoder": self.encoder.to_json()}


def to_float(samples: jax.Array) -> jax.Array:
  """int16 samples as float32, full scale at 1; floating point as it is."""
  if jnp.issubdtype(samples.dtype, jnp.floating):
    return samples
  return samples.astype(jnp.float32) / io.FULL_SCALE
