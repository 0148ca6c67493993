"""Which tokens may follow in a transcript of Whisper.

Radford et al. 2023, section 4.5, and the published code.

B clips, N tokens of prompt and transcript together, V of the vocabulary.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Rules:
  """Which tokens may follow; ids of the vocabulary.

  Attributes:
    end: ends a transcript; all text is below it.
    no_timestamps: stands before the timestamps, which end the vocabulary and
      are 20 ms apart.
    suppressed, suppressed_first: never chosen; never chosen first.
    latest_first_timestamp: the first is at most so many steps of 20 ms.
    timestamps: whether text stands between pairs of timestamps, or has none.
  """

  end: int
  no_timestamps: int
  suppressed: tuple[int, ...]
  suppressed_first: tuple[int, ...]
  latest_first_timestamp: int | None
  timestamps: bool

  @property
  def first_timestamp(self) -> int:
    """0.00 s."""
    return self.no_timestamps + 1

  def __call__(
    self,
    scores_BxV: jax.Array,
    tokens_BxN: jax.Array,
    begin: int,
    position: jax.Array,
  ) -> jax.Array:
    """Logits or log probabilities at `position`; -inf where not allowed.

    The transcript begins at `begin`.
    """
    size = scores_BxV.shape[-1]
    first_V, never_V = (_named(ids, size) for ids in self._suppressed)
    never_V = never_V | (first_V & (position == begin))
    scores_BxV = jnp.where(never_V[None], -jnp.inf, scores_BxV)
    if not self.timestamps:
      return scores_BxV
    forbidden_BxV = self._unpaired(size, tokens_BxN, begin, position)
    scores_BxV = jnp.where(forbidden_BxV, -jnp.inf, scores_BxV)
    # If a timestamp, whichever, is likelier than every word, it is a timestamp.
    is_timestamp_1xV = (jnp.arange(size) >= self.first_timestamp)[None]
    logs_BxV = jax.nn.log_softmax(scores_BxV)
    timestamps_B = jax.nn.logsumexp(logs_BxV, axis=-1, where=is_timestamp_1xV)
    words_B = jnp.where(is_timestamp_1xV, -jnp.inf, logs_BxV).max(-1)
    timestamp_Bx1 = (timestamps_B > words_B)[:, None]
    return jnp.where(timestamp_Bx1 & ~is_timestamp_1xV, -jnp.inf, scores_BxV)

  @property
  def _suppressed(self):
    return self.suppressed_first, self.suppressed

  def _unpaired(self, size, tokens_BxN, begin, position):
    """What would break the order of timestamps: pairs, in time, first."""
    ids_1xV = jnp.arange(size)[None]
    is_timestamp_1xV = ids_1xV >= self.first_timestamp

    def was_timestamp(back):
      token_B = tokens_BxN[:, jnp.maximum(position - back, 0)]
      return (token_B >= self.first_timestamp)[:, None]

    count = position - begin
    last_Bx1 = was_timestamp(1) & (count >= 1)
    before_Bx1 = was_timestamp(2) | (count < 2)
    places_1xN = jnp.arange(tokens_BxN.shape[1])[None]
    written_1xN = (places_1xN >= begin) & (places_1xN < position)
    timestamps_BxN = jnp.where(written_1xN, tokens_BxN, 0)
    latest_Bx1 = timestamps_BxN.max(-1, keepdims=True)
    # The end of a pair may be its beginning; the next pair comes later.
    earliest_Bx1 = latest_Bx1 + ~(last_Bx1 & ~before_Bx1)
    earliest_Bx1 = jnp.where(latest_Bx1 < self.first_timestamp, 0, earliest_Bx1)
    forbidden = ids_1xV == self.no_timestamps
    forbidden |= last_Bx1 & before_Bx1 & is_timestamp_1xV
    forbidden |= last_Bx1 & ~before_Bx1 & (ids_1xV < self.end)
    forbidden |= is_timestamp_1xV & (ids_1xV < earliest_Bx1)
    too_late = ids_1xV < self.first_timestamp
    if self.latest_first_timestamp is not None:
      too_late |= ids_1xV > self.first_timestamp + self.latest_first_timestamp
    return forbidden | (too_late & (count == 0))


def _named(ids, size):
  mask = np.zeros(size, bool)
  mask[[i for i in ids if i < size]] = True
  return jnp.asarray(mask)
