"""A classifier of the utterances of conversations from its description.

N utterances of a batch, U of a whole table, D features, M modalities, C
emotions, A heads of the attention, B rows of T turns.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from emojax import normalisation
from emojax.models.dann import Dann
from emojax.models.sa_gru import Packing

# Of `config.data`: all that says where features come from.
FEATURE_FIELDS = (
  *("audio_features", "audio_layers", "audio_revision"),
  *("text_features", "text_encoder", "text_revision"),
)


class Outputs(NamedTuple):
  """What the model says of the utterances of a batch.

  Attributes:
    logits_NxC: of emotions.
    fusion_NxM: weights of the modalities, in order of their names; their sum
      is 1.
    attention_AxBxTxT: what each turn of a row takes from each other one; the
      sums over the last axis are 1, or 0 where there is no turn.
  """

  logits_NxC: jax.Array
  fusion_NxM: jax.Array
  attention_AxBxTxT: jax.Array


@dataclasses.dataclass(frozen=True)
class ConversationSystem:
  """AT-Fusion and SA-GRU (`Dann` without its adversary), but its weights.

  Attributes:
    features: the `FEATURE_FIELDS` of the config; empty where it was trained
      from a feature table, which does not tell.
    widths: D by modality.
    normalisation: of `normalisation.METHODS`.
    temperature: by which logits are divided before the softmax; fitted on
      speakers who were held out.
  """

  kind: ClassVar[str] = "conversations"

  classes: tuple[str, ...]
  features: Mapping[str, Any]
  widths: Mapping[str, int]
  normalisation: str
  hidden: int
  num_heads: int
  scale_attention: bool
  temperature: float = 1.0

  def model(self) -> Dann:
    """The Flax module."""
    return Dann(
      len(self.classes),
      0,
      self.hidden,
      self.num_heads,
      self.scale_attention,
      domain_classifier=False,
    )

  def shapes(self) -> dict[str, Any]:
    """What its weights are: the model's, and statistics of the features."""
    packing = Packing(jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), jnp.int32))
    features = {n: jnp.zeros((1, width)) for n, width in self.widths.items()}
    init = functools.partial(self.model().init, reversal_scale=0.0)
    model = jax.eval_shape(init, jax.random.key(0), features, packing)
    if self.normalisation != "train":
      return {"model": model["params"]}
    return {
      "model": model["params"],
      # Of no memory, however wide.
      "statistics": {
        name: dict.fromkeys(("mean", "std"), np.broadcast_to(0.0, width))
        for name, width in self.widths.items()
      },
    }

  def normalise(
    self,
    params: Mapping[str, Any],
    features: Mapping[str, np.ndarray],
    speaker_U: np.ndarray,
  ) -> dict[str, np.ndarray]:
    """z-scores features [U, D] by modality, as they were in training.

    By the statistics of the training utterances, or of each of these speakers.
    """
    if self.normalisation == "speaker":
      nobody = np.zeros(len(speaker_U), bool)
      return normalisation.normalise(features, "speaker", nobody, speaker_U)
    # Statistics that were tampered with give NaN, which is told of the result.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
      return {
        name: normalisation.apply(values, **params["statistics"][name])
        for name, values in features.items()
      }

  @functools.cached_property
  def forward(self) -> Callable[..., Outputs]:
    """Compiled: params, normalised features [N, D] by modality, a `Packing`."""
    model = self.model()

    @jax.jit
    def forward(params, features, packing):
      (logits_NxC, out), seen = model.apply(
        {"params": params["model"]},
        *(features, packing, 0.0),
        mutable=["intermediates"],
      )
      (weights,) = seen["intermediates"]["context"]["attention"]["weights"]
      return Outputs(logits_NxC, out["fusion_weights"], weights)

    return lambda params, *inputs: forward({"model": params["model"]}, *inputs)

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """Reads what `to_json` gives.

    Raises:
      ValueError: no such normalisation, or features nobody knows; and whatever
        else values raise that make no system.
    """
    system = cls(**{**fields, "classes": tuple(fields["classes"])})
    if system.normalisation not in normalisation.METHODS:
      raise ValueError(f"no normalisation {system.normalisation!r}")
    if set(system.features) not in (set(), set(FEATURE_FIELDS)):
      raise ValueError(f"features have to be {', '.join(FEATURE_FIELDS)}")
    if not system.widths or set(system.widths) - {"audio", "text"}:
      raise ValueError("widths are of audio, text, or both")
    system.shapes()  # Finds what is missing or of another type.
    return system

  def to_json(self) -> dict[str, Any]:
    return dataclasses.asdict(self)


def statistics(
  features: Mapping[str, np.ndarray], labelled_U: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
  """What `ConversationSystem.normalise` needs of the training part."""
  found = {}
  for name, values in features.items():
    mean_D, std_D = normalisation.statistics(
      values[labelled_U].astype(np.float64)
    )
    found[name] = {"mean": mean_D, "std": std_D}
  return found
