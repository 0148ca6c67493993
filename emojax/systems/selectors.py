"""A trained selector from its description: who stays in a training set.

Letters in names: N examples, K classes, D features.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from emojax.corpora import labels
from emojax.models import selector
from emojax.models.selector import PolicyNetwork, Selection
from emojax.systems import classifiers
from emojax.systems.faces import FaceSystem
from emojax.systems.speech import SpeechSystem

FILES = "selector.json", "selector.safetensors"  # Of `stored`.
# In a run's folder: what RLPS-S, which judges nothing but its own training set,
# made of it. `name` [N], as the reader's records have it; `label` [N], its
# class; `retained`, `probability` [N]; `log_probability` [N, K], of classifiers
# that were not trained on the example; `labels`, as a `Selector` has them.
JUDGED = "judged.npz"

_MOST = 1 << 16  # Examples of a batch.
_CLASSIFIERS = {one.kind: one for one in (FaceSystem, SpeechSystem)}


@dataclasses.dataclass(frozen=True)
class Selector:
  """All of a selector but its weights.

  These are `classifier`: the variables as the policy knows them, at the end of
  the last epoch; `policy`: its parameters; `size` [D]: of the features, see
  `models.selector.observe`.
  """

  kind: ClassVar[str] = "selector"

  classifier: FaceSystem | SpeechSystem  # Whose features the policy sees.
  labels: str  # Which become which of its classes, see `labels.parse_classes`.
  widths: tuple[int, ...]  # See `PolicyNetwork`.
  retention_floor: float  # Share of each class that stays at least.
  key: tuple[int, ...]  # Of the final pass: its words.
  batch_size: int  # Of training: in another one features are rounded otherwise.

  @property
  def classes(self) -> tuple[str, ...]:
    """Those of the classifier."""
    return self.classifier.classes

  @property
  def temperature(self) -> float:
    """That of the classifier: 1, it is what rewards were computed with."""
    return self.classifier.temperature

  def network(self) -> PolicyNetwork:
    """The policy as a Flax module."""
    return PolicyNetwork(self.widths)

  def shapes(self) -> Any:
    """The shapes and types of its weights."""
    variables = self.classifier.shapes()
    if isinstance(self.classifier, SpeechSystem):
      variables = {"params": variables}
    _, features_1xD = jax.eval_shape(self._outputs, variables, self._example())
    num_features = features_1xD.shape[1]
    state_1xK = jax.ShapeDtypeStruct((1, 2 * num_features), jnp.float32)
    network = self.network()
    policy = jax.eval_shape(network.init, jax.random.key(0), state_1xK)
    size_D = jax.ShapeDtypeStruct((num_features,), jnp.float32)
    return {
      "classifier": variables,
      "policy": policy["params"],
      "size": size_D,
    }

  @functools.cached_property
  def forward(self) -> Callable:
    """Compiled: the classifier's variables and inputs [B, ...] of examples.

    To logits [B, K] and features [B, D]. Inputs are uint8 images [B, H, W, C],
    or `audio` int16 [B, S] and `length` int32 [B] of clips.
    """
    return jax.jit(self._outputs)

  def select(
    self, weights: Any, features_NxD: np.ndarray, label_N: np.ndarray
  ) -> tuple[Selection, jax.Array]:
    """The final pass over examples, and who stays with the floor, bool [N].

    Takes the features that `forward` gives, and the classes of all examples.
    Where these are the training set, the pass is that of training.
    """
    return jax.jit(self._selection)(
      weights["policy"], weights["size"], features_NxD, label_N
    )

  def _selection(self, policy, size_D, features_NxD, label_N):
    features_NxD = features_NxD / size_D[None]
    key = jax.random.wrap_key_data(np.array(self.key, np.uint32))
    found = selector.random_pass(
      self.network(), policy, features_NxD, key, True
    )
    kept_N = found.retained_N
    if self.retention_floor:
      kept_N = selector.with_floor(
        *(kept_N, found.probability_N, label_N),
        *(len(self.classes), self.retention_floor),
      )
    return found, kept_N

  def _outputs(self, variables: Any, inputs: Any) -> tuple:
    # Nothing is random without training: any key does.
    key = jax.random.key(0)
    apply = classifiers.of(self.classifier).apply
    return apply(variables, inputs, False, key)[:2]

  def _example(self) -> Any:
    of = self.classifier
    if isinstance(of, SpeechSystem):
      audio = jax.ShapeDtypeStruct((1, of.window_samples), jnp.int16)
      return {"audio": audio, "length": jax.ShapeDtypeStruct((1,), jnp.int32)}
    return jax.ShapeDtypeStruct((1, *of.image_size, of.channels), jnp.uint8)

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """Reads what `to_json` gives.

    Raises:
      ValueError: a value out of its range; and whatever else values raise that
        make no selector.
    """
    described = dict(fields["classifier"])
    classifier = _CLASSIFIERS[described.pop("kind")].from_json(described)
    known = {
      "classifier": classifier,
      "widths": tuple(fields["widths"]),
      "key": tuple(fields["key"]),
    }
    found = cls(**{**fields, **known})
    if labels.parse_classes(found.labels)[0] != found.classes:
      raise ValueError("labels and classes have to be the same")
    if not all(type(value) is int for value in (*found.widths, *found.key)):
      raise ValueError("widths and key have to be whole numbers")
    if type(found.batch_size) is not int or not 0 < found.batch_size < _MOST:
      raise ValueError("batch_size is a whole number above 0")
    if not 0 <= found.retention_floor <= 1:
      raise ValueError("retention_floor has to be within 0 and 1")
    # Finds a key of another length, and numbers that are no words.
    jax.random.wrap_key_data(np.array(found.key, np.uint32))
    return found

  def to_json(self) -> dict[str, Any]:
    described = {"kind": self.classifier.kind, **self.classifier.to_json()}
    # Not `asdict`, which would go into the classifier.
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return {**fields, "classifier": described}
