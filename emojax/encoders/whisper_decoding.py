"""How Whisper's decoder is asked for a transcript: rules, greedy, beams.

Radford et al. 2023, sections 2.3 and 4.5, and the published code. All of it is
compiled; prompt and transcript are in one array of tokens.

B clips, K beams, P tokens of the prompt, N of prompt and transcript together,
V of the vocabulary.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emojax.encoders.whisper_model import WhisperDecoder


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


class Decoded(NamedTuple):
  """Transcripts of a batch.

  Attributes:
    tokens_BxN: behind the prompt, filled up with the token of the end.
    logprob_B: the mean over the tokens of each, its end included.
    no_speech_B: the probability that nobody speaks.
  """

  tokens_BxN: jax.Array
  logprob_B: jax.Array
  no_speech_B: jax.Array


class _Steps(NamedTuple):
  """The decoder after the prompt."""

  logits_BxV: jax.Array
  cache: Any
  no_speech_B: jax.Array
  step: Callable  # (token_B, position, cache) -> (logits_BxV, cache)


@functools.partial(jax.jit, static_argnames=("decoder", "rules"))
def greedy(
  decoder: WhisperDecoder,
  rules: Rules,
  params: Any,
  states_BxTxD: jax.Array,
  prompt_BxP: jax.Array,
  temperature: jax.Array,
  key: jax.Array,
) -> Decoded:
  """The likeliest token each time, or one drawn at a temperature above 0."""
  size, begin = decoder.config.max_target_positions, prompt_BxP.shape[1]
  started = _start(decoder, rules, params, states_BxTxD, prompt_BxP, size)
  batch = len(prompt_BxP)
  tokens_BxN = jnp.full((batch, size), rules.end)
  tokens_BxN = tokens_BxN.at[:, :begin].set(prompt_BxP)

  def unfinished(state):
    position, _, done_B, *_ = state
    return (position < size) & ~done_B.all()

  def choose(state):
    position, tokens_BxN, done_B, total_B, logits_BxV, cache = state
    scores_BxV = rules(logits_BxV, tokens_BxN, begin, position)
    cooled_BxV = scores_BxV / jnp.where(temperature > 0, temperature, 1)
    draw_key = jax.random.fold_in(key, position)
    token_B = jnp.where(
      temperature > 0,
      jax.random.categorical(draw_key, cooled_BxV),
      scores_BxV.argmax(-1),
    )
    token_B = jnp.where(done_B, rules.end, token_B)
    logs_BxV = jax.nn.log_softmax(scores_BxV)
    chosen_B = jnp.take_along_axis(logs_BxV, token_B[:, None], 1)[:, 0]
    total_B += jnp.where(done_B, 0, chosen_B)
    tokens_BxN = tokens_BxN.at[:, position].set(token_B)
    done_B |= token_B == rules.end
    logits_BxV, cache = started.step(token_B, position, cache)
    return position + 1, tokens_BxN, done_B, total_B, logits_BxV, cache

  first = (
    *(begin, tokens_BxN, jnp.zeros(batch, bool), jnp.zeros(batch)),
    *(started.logits_BxV, started.cache),
  )
  _, tokens_BxN, _, total_B, *_ = jax.lax.while_loop(unfinished, choose, first)
  tokens_BxN = tokens_BxN[:, begin:]
  length_B = (tokens_BxN != rules.end).sum(-1) + 1
  length_B = jnp.minimum(length_B, size - begin)
  return Decoded(tokens_BxN, total_B / length_B, started.no_speech_B)


class _Beams(NamedTuple):
  """Beams that still grow, and the best that have ended."""

  position: jax.Array
  tokens_BxKxN: jax.Array
  total_BxK: jax.Array  # Log probabilities.
  ended_BxKxN: jax.Array
  mean_BxK: jax.Array  # Of those that have ended; -inf: there is none.
  logits_BxKxV: jax.Array
  cache: Any


@functools.partial(jax.jit, static_argnames=("decoder", "rules", "num_beams"))
def beams(
  decoder: WhisperDecoder,
  rules: Rules,
  num_beams: int,
  params: Any,
  states_BxTxD: jax.Array,
  prompt_BxP: jax.Array,
) -> Decoded:
  """The transcript of the highest mean log probability that K beams find."""
  size, begin = decoder.config.max_target_positions, prompt_BxP.shape[1]
  batch, width = len(prompt_BxP), num_beams
  states, prompt = (
    jnp.repeat(x, width, axis=0) for x in (states_BxTxD, prompt_BxP)
  )
  started = _start(decoder, rules, params, states, prompt, size)
  tokens = jnp.full((batch, width, size), rules.end)
  tokens = tokens.at[:, :, :begin].set(prompt_BxP[:, None])
  logits = started.logits_BxV.reshape(batch, width, -1)
  vocabulary = logits.shape[-1]

  def promising(state):
    """Whether a beam that grows may still beat the worst that has ended."""
    length = jnp.maximum(state.position - begin, 1)
    best_B = state.total_BxK[:, 0] / length
    open_B = state.mean_BxK.min(-1) < best_B
    return (state.position < size) & open_B.any()

  def grow(state):
    logs = jax.nn.log_softmax(state.logits_BxKxV)
    flat = state.tokens_BxKxN.reshape(batch * width, size)
    scores = rules(
      logs.reshape(batch * width, vocabulary), flat, begin, state.position
    )
    scores = scores.reshape(batch, width, vocabulary)
    scores += state.total_BxK[..., None]
    # Of so many at least K do not end.
    top, index = jax.lax.top_k(scores.reshape(batch, -1), 2 * width)
    beam, token = index // vocabulary, index % vocabulary
    grown = jnp.take_along_axis(state.tokens_BxKxN, beam[..., None], 1)
    grown = grown.at[:, :, state.position].set(token)
    ends = token == rules.end
    length = state.position + 1 - begin
    # Only what is among the best K may end.
    may_end = ends & (jnp.arange(2 * width) < width)[None]
    means = jnp.where(may_end, top / length, -jnp.inf)
    means = jnp.concatenate([state.mean_BxK, means], 1)
    ended = jnp.concatenate([state.ended_BxKxN, grown], 1)
    means, ended = _best(means, ended, width)
    total, which = jax.lax.top_k(jnp.where(ends, -jnp.inf, top), width)
    grown = jnp.take_along_axis(grown, which[..., None], 1)
    beam = jnp.take_along_axis(beam, which, 1)
    rows = (jnp.arange(batch)[:, None] * width + beam).reshape(-1)
    cache = jax.tree.map(lambda x: x[rows], state.cache)
    token = grown[:, :, state.position].reshape(-1)
    logits, cache = started.step(token, state.position, cache)
    logits = logits.reshape(batch, width, vocabulary)
    return _Beams(state.position + 1, grown, total, ended, means, logits, cache)

  alone = jnp.full((batch, width), -jnp.inf).at[:, 0].set(0)
  nothing = jnp.full((batch, width), -jnp.inf)
  first = _Beams(
    jnp.int32(begin), tokens, alone, tokens, nothing, logits, started.cache
  )
  last = jax.lax.while_loop(promising, grow, first)
  # Where none has ended, the best of those that grew as long as they could.
  means = jnp.concatenate([last.mean_BxK, last.total_BxK / (size - begin)], 1)
  means = jnp.where(
    jnp.isfinite(last.mean_BxK).any(-1, keepdims=True)
    & (jnp.arange(2 * width) >= width)[None],
    -jnp.inf,
    means,
  )
  texts = jnp.concatenate([last.ended_BxKxN, last.tokens_BxKxN], 1)
  means, texts = _best(means, texts, 1)
  no_speech_B = started.no_speech_B.reshape(batch, width)[:, 0]
  return Decoded(texts[:, 0, begin:], means[:, 0], no_speech_B)


def _best(scores, tokens, count):
  scores, which = jax.lax.top_k(scores, count)
  return scores, jnp.take_along_axis(tokens, which[..., None], 1)


def _start(decoder, rules, params, states_BxTxD, prompt_BxP, size) -> _Steps:
  """Runs the prompt through the decoder."""
  variables = {"params": params}
  sound = decoder.apply(variables, states_BxTxD, method="look")
  cache = decoder.start(len(prompt_BxP), size)
  logits_BxPxV, cache = decoder.apply(variables, prompt_BxP, 0, sound, cache)
  # What follows the first token of the prompt says whether somebody speaks.
  no_speech_BxV = jax.nn.softmax(logits_BxPxV[:, 0])

  def step(token_B, position, cache):
    logits_Bx1xV, cache = decoder.apply(
      variables, token_B[:, None], position, sound, cache
    )
    return logits_Bx1xV[:, 0], cache

  return _Steps(
    logits_BxPxV[:, -1], cache, no_speech_BxV[:, rules.no_timestamps - 1], step
  )


def _named(ids, size):
  mask = np.zeros(size, bool)
  mask[[i for i in ids if i < size]] = True
  return jnp.asarray(mask)
