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
    no_timestamps: stands before the time stamps, which end the vocabulary and
      are 20 ms apart.
    suppressed, suppressed_first: never chosen; never chosen first.
    latest_first_stamp: the first stamp is at most so many steps of 20 ms.
    timestamps: whether text stands between pairs of stamps, or has none.
  """

  end: int
  no_timestamps: int
  suppressed: tuple[int, ...]
  suppressed_first: tuple[int, ...]
  latest_first_stamp: int | None
  timestamps: bool

  @property
  def first_stamp(self) -> int:
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
    # If a stamp, whichever, is likelier than every word, it is a stamp.
    is_stamp_1xV = (jnp.arange(size) >= self.first_stamp)[None]
    logs_BxV = jax.nn.log_softmax(scores_BxV)
    stamps_B = jax.nn.logsumexp(logs_BxV, axis=-1, where=is_stamp_1xV)
    words_B = jnp.where(is_stamp_1xV, -jnp.inf, logs_BxV).max(-1)
    stamp_Bx1 = (stamps_B > words_B)[:, None]
    return jnp.where(stamp_Bx1 & ~is_stamp_1xV, -jnp.inf, scores_BxV)

  @property
  def _suppressed(self):
    return self.suppressed_first, self.suppressed

  def _unpaired(self, size, tokens_BxN, begin, position):
    """What would break the order of stamps: pairs, in time, first of all."""
    ids_1xV = jnp.arange(size)[None]
    is_stamp_1xV = ids_1xV >= self.first_stamp

    def was_stamp(back):
      token_B = tokens_BxN[:, jnp.maximum(position - back, 0)]
      return (token_B >= self.first_stamp)[:, None]

    count = position - begin
    last_Bx1 = was_stamp(1) & (count >= 1)
    before_Bx1 = was_stamp(2) | (count < 2)
    places_1xN = jnp.arange(tokens_BxN.shape[1])[None]
    written_1xN = (places_1xN >= begin) & (places_1xN < position)
    stamps_BxN = jnp.where(written_1xN, tokens_BxN, 0)
    latest_Bx1 = stamps_BxN.max(-1, keepdims=True)
    # The end of a pair may be its beginning; the next pair comes later.
    earliest_Bx1 = latest_Bx1 + ~(last_Bx1 & ~before_Bx1)
    earliest_Bx1 = jnp.where(latest_Bx1 < self.first_stamp, 0, earliest_Bx1)
    forbidden = ids_1xV == self.no_timestamps
    forbidden |= last_Bx1 & before_Bx1 & is_stamp_1xV
    forbidden |= last_Bx1 & ~before_Bx1 & (ids_1xV < self.end)
    forbidden |= is_stamp_1xV & (ids_1xV < earliest_Bx1)
    too_late = ids_1xV < self.first_stamp
    if self.latest_first_stamp is not None:
      too_late |= ids_1xV > self.first_stamp + self.latest_first_stamp
    return forbidden | (too_late & (count == 0))


def _named(ids, size):
  mask = np.zeros(size, bool)
  mask[[i for i in ids if i < size]] = True
  return jnp.asarray(mask)
