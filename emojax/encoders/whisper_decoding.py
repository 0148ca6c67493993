"""How Whisper's decoder is asked for a transcript: greedy, beams.

Radford et al. 2023, section 4.5, and the published code. A transcript is one
compiled program; prompt and transcript are in one array of tokens.

B clips, K beams, T frames, P tokens of the prompt, N of prompt and transcript
together, V of the vocabulary.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from emojax.encoders.whisper_decoder import KeyValues, WhisperDecoder
from emojax.encoders.whisper_rules import Rules


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


@functools.partial(jax.jit, static_argnames="decoder")
def cross_cache(
  decoder: WhisperDecoder, params: Any, states_BxTxD: jax.Array
) -> list[KeyValues]:
  """What is attended to of an encoder's `states`: once for all questions."""
  variables = {"params": _in_its_type(decoder, params)}
  return decoder.apply(variables, states_BxTxD, method="cross_cache")


def rows_of(decoder: WhisperDecoder, seen: Any, rows: jax.Array) -> Any:
  """Of B clips or rows, what is known of these."""
  heads = decoder.config.decoder_attention_heads

  def take(x):
    chosen = x.reshape(-1, heads, *x.shape[1:])[rows]
    return chosen.reshape(-1, *x.shape[1:])

  return jax.tree.map(take, seen)


@functools.partial(jax.jit, static_argnames=("decoder", "start"))
def first_logits(
  decoder: WhisperDecoder, params: Any, cross: list[KeyValues], start: int
) -> jax.Array:
  """Logits [B, V] of what follows the token of the start: the language."""
  batch = len(cross[0].key_RxKxN) // decoder.config.decoder_attention_heads
  tokens_Bx1 = jnp.full((batch, 1), start)
  logits_Bx1xV, _ = decoder.apply(
    {"params": params}, tokens_Bx1, 0, cross, decoder.start(batch, 1)
  )
  return logits_Bx1xV[:, 0]


class _Context(NamedTuple):
  """What is the same in all steps."""

  decoder: WhisperDecoder
  rules: Rules
  params: Any
  cross: list[KeyValues]
  begin: int  # Where the transcript begins, behind the prompt.

  def read(self, tokens_BxT, position, cache):
    """Logits of what follows each token, and the longer cache."""
    variables = {"params": self.params}
    return self.decoder.apply(
      variables, tokens_BxT, position, self.cross, cache
    )


class _Greedy(NamedTuple):
  """Transcripts that grow by a token a step.

  `tokens_BxN` are chosen up to `position`; the cache lacks the last of them.
  """

  position: jax.Array
  tokens_BxN: jax.Array
  done_B: jax.Array
  total_B: jax.Array  # Log probabilities.
  cache: Any


@functools.partial(jax.jit, static_argnames=("decoder", "rules"))
def greedy(
  decoder: WhisperDecoder,
  rules: Rules,
  params: Any,
  cross: list[KeyValues],
  prompt_BxP: jax.Array,
  temperature: jax.Array,
  key_B: jax.Array,
) -> Decoded:
  """The likeliest token each time, or one drawn at a temperature above 0.

  `cross` is what `cross_cache` gives. What is drawn for a row depends on its
  key alone, and not on who else is in the batch.
  """
  context = _context(decoder, rules, params, cross, prompt_BxP)
  choose = functools.partial(_choose, context, temperature, key_B)
  tokens_BxN = _begun(context, prompt_BxP)
  logits_BxV, cache, no_speech_B = _prompted(context, prompt_BxP)
  batch, size = tokens_BxN.shape
  first = _Greedy(
    *(jnp.int32(context.begin), tokens_BxN),
    *(jnp.zeros(batch, bool), jnp.zeros(batch), cache),
  )

  def unfinished(state):
    return (state.position < size) & ~state.done_B.all()

  def grow(state):
    before = state.position - 1
    token_Bx1 = jax.lax.dynamic_slice_in_dim(state.tokens_BxN, before, 1, 1)
    logits_Bx1xV, cache = context.read(token_Bx1, before, state.cache)
    return choose(state._replace(cache=cache), logits_Bx1xV[:, 0])

  last = jax.lax.while_loop(unfinished, grow, choose(first, logits_BxV))
  tokens_BxN = last.tokens_BxN[:, context.begin :]
  length_B = (tokens_BxN != rules.end).sum(-1) + 1
  length_B = jnp.minimum(length_B, tokens_BxN.shape[1])
  return Decoded(tokens_BxN, last.total_B / length_B, no_speech_B)


def _choose(context, temperature, key_B, state, logits_BxV) -> _Greedy:
  """Adds a token to each transcript that has not ended."""
  position, tokens_BxN, done_B, total_B, cache = state
  scores_BxV = context.rules(logits_BxV, tokens_BxN, context.begin, position)

  def draw(key, scores_V):
    return jax.random.categorical(jax.random.fold_in(key, position), scores_V)

  # Numbers are drawn only where they count: they take a tenth of a step.
  token_B = jax.lax.cond(
    temperature > 0,
    lambda: jax.vmap(draw)(key_B, scores_BxV / temperature),
    lambda: scores_BxV.argmax(-1),
  )
  token_B = jnp.where(done_B, context.rules.end, token_B)
  chosen_B = jnp.take_along_axis(scores_BxV, token_B[:, None], 1)[:, 0]
  chosen_B -= jax.nn.logsumexp(scores_BxV, axis=-1)
  return _Greedy(
    position + 1,
    tokens_BxN.at[:, position].set(token_B),
    done_B | (token_B == context.rules.end),
    total_B + jnp.where(done_B, 0, chosen_B),
    cache,
  )


class _Beams(NamedTuple):
  """Beams that still grow, the likeliest first, and the best that ended.

  A clip is open while the likeliest may still beat the worst that has ended;
  then it is closed for good, whatever its beams would do beside other clips.
  """

  position: jax.Array
  open_B: jax.Array
  tokens_BxKxN: jax.Array
  total_BxK: jax.Array  # Log probabilities.
  ended_BxKxN: jax.Array
  mean_BxK: jax.Array  # Of those that have ended; -inf: there is none.
  cache: Any  # Of B * K rows.


@functools.partial(jax.jit, static_argnames=("decoder", "rules", "num_beams"))
def beams(
  decoder: WhisperDecoder,
  rules: Rules,
  num_beams: int,
  params: Any,
  cross: list[KeyValues],
  prompt_BxP: jax.Array,
) -> Decoded:
  """The transcript of the highest mean log probability that K beams find.

  `cross` is what `cross_cache` gives.
  """
  context = _context(decoder, rules, params, cross, prompt_BxP)
  logits_BxV, cache, no_speech_B = _prompted(context, prompt_BxP)
  tokens_BxN = _begun(context, prompt_BxP)
  batch, size = tokens_BxN.shape
  tokens_BxKxN, logits_BxKxV = (
    jnp.repeat(x[:, None], num_beams, axis=1) for x in (tokens_BxN, logits_BxV)
  )
  nothing_BxK = jnp.full((batch, num_beams), -jnp.inf)
  # All are the same at first: one counts.
  first = _Beams(
    *(jnp.int32(context.begin), jnp.ones(batch, bool)),
    *(tokens_BxKxN, nothing_BxK.at[:, 0].set(0)),
    *(tokens_BxKxN, nothing_BxK),
    rows_of(context.decoder, cache, jnp.repeat(jnp.arange(batch), num_beams)),
  )

  def grow(state):
    before = state.position - 1
    rows = state.tokens_BxKxN.reshape(batch * num_beams, size)
    token = jax.lax.dynamic_slice_in_dim(rows, before, 1, 1)
    logits, cache = context.read(token, before, state.cache)
    state = state._replace(cache=cache)
    return _expand(context, state, logits.reshape(batch, num_beams, -1))

  def unfinished(state):
    return (state.position < size) & state.open_B.any()

  begun = _expand(context, first, logits_BxKxV)
  last = jax.lax.while_loop(unfinished, grow, begun)
  tokens_BxN, mean_B = _likeliest(context, last)
  return Decoded(tokens_BxN, mean_B, no_speech_B)


def _expand(context, state: _Beams, logits_BxKxV) -> _Beams:
  """Gives each beam its likeliest tokens and keeps the best K of all."""
  batch, width, vocabulary = logits_BxKxV.shape
  logs = jax.nn.log_softmax(logits_BxKxV).reshape(batch * width, vocabulary)
  rows = state.tokens_BxKxN.reshape(batch * width, -1)
  scores = context.rules(logs, rows, context.begin, state.position)
  scores_BxKxV = scores.reshape(batch, width, -1) + state.total_BxK[..., None]
  # Of so many at least K do not end.
  top, index = jax.lax.top_k(scores_BxKxV.reshape(batch, -1), 2 * width)
  beam, token = index // vocabulary, index % vocabulary
  grown = jnp.take_along_axis(state.tokens_BxKxN, beam[..., None], 1)
  grown = grown.at[:, :, state.position].set(token)
  ends = token == context.rules.end
  # Only what is among the best K may end, of a clip that is open.
  may_end = ends & (jnp.arange(2 * width) < width)[None]
  may_end &= state.open_B[:, None]
  length = state.position + 1 - context.begin
  means = jnp.where(may_end, top / length, -jnp.inf)
  mean_BxK, ended_BxKxN = _best(
    jnp.concatenate([state.mean_BxK, means], 1),
    jnp.concatenate([state.ended_BxKxN, grown], 1),
    width,
  )
  total_BxK, which = jax.lax.top_k(jnp.where(ends, -jnp.inf, top), width)
  beam = jnp.take_along_axis(beam, which, 1)
  rows = (jnp.arange(batch)[:, None] * width + beam).reshape(-1)
  return _Beams(
    state.position + 1,
    state.open_B & (mean_BxK.min(-1) < total_BxK[:, 0] / length),
    jnp.take_along_axis(grown, which[..., None], 1),
    total_BxK,
    ended_BxKxN,
    mean_BxK,
    rows_of(context.decoder, state.cache, rows),
  )


def _likeliest(context, state: _Beams):
  """The best of those that ended; if none did, of those that still grow."""
  tokens_BxKxN = state.tokens_BxKxN[..., context.begin :]
  means_BxK = state.total_BxK / tokens_BxKxN.shape[-1]
  has_ended_Bx1 = jnp.isfinite(state.mean_BxK).any(-1, keepdims=True)
  means = jnp.concatenate(
    [state.mean_BxK, jnp.where(has_ended_Bx1, -jnp.inf, means_BxK)], 1
  )
  texts = [state.ended_BxKxN[..., context.begin :], tokens_BxKxN]
  means, texts = _best(means, jnp.concatenate(texts, 1), 1)
  return texts[:, 0], means[:, 0]


def _best(scores, tokens, count):
  scores, which = jax.lax.top_k(scores, count)
  return scores, jnp.take_along_axis(tokens, which[..., None], 1)


def _context(decoder, rules, params, cross, prompt_BxP) -> _Context:
  params = _in_its_type(decoder, params)
  return _Context(decoder, rules, params, cross, prompt_BxP.shape[1])


def _in_its_type(decoder, params):
  """In half precision once, and not for each token anew."""
  return jax.tree.map(
    lambda x: x.astype(decoder.dtype) if x.ndim > 1 else x, params
  )


def _begun(context, prompt_BxP):
  """Transcripts of the prompt alone."""
  spare = context.decoder.config.max_target_positions - context.begin
  return jnp.pad(
    prompt_BxP, ((0, 0), (0, spare)), constant_values=context.rules.end
  )


def _prompted(context, prompt_BxP):
  """Logits behind the prompt, the cache, and whether nobody speaks."""
  size = context.decoder.config.max_target_positions
  cache = context.decoder.start(len(prompt_BxP), size)
  logits_BxPxV, cache = context.read(prompt_BxP, 0, cache)
  # What follows the first token of the prompt says whether somebody speaks.
  no_speech_BxV = jax.nn.softmax(logits_BxPxV[:, 0])
  no_speech_B = no_speech_BxV[:, context.rules.no_timestamps - 1]
  return logits_BxPxV[:, -1], cache, no_speech_B
