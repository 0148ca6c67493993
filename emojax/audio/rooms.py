"""Reverberation: responses of rooms, and clips played in them."""

import jax
import jax.numpy as jnp

from emojax.audio import convolution, waveforms

# Samples of a response this soon after the direct sound belong to it: the
# usual limit for the direct-to-reverberant ratio (Naylor & Gaubitch 2010,
# "Speech Dereverberation", section 2.2), and no wall is nearer.
_DIRECT_SECONDS = 0.0025


def synthesize(
  key_B: jax.Array,
  decay_seconds_B: jax.Array,
  direct_db_B: jax.Array,
  num_samples: int,
  sample_rate: int,
) -> jax.Array:
  """Draws room responses: a direct sound, then noise that dies away.

  Polack's model (1988, "La transmission de l'énergie sonore dans les salles"):
  Gaussian noise under an exponential envelope, which falls by 60 dB in the
  decay time (RT60). `direct_db_B` is the energy of the direct sound over that
  of the tail, in dB; the tail is cut after `num_samples`.

  Returns float32 [B, R] of energy 1, the direct sound at sample 0.
  """
  noise = jax.vmap(lambda key: jax.random.normal(key, (num_samples,)))(key_B)
  seconds = jnp.arange(num_samples)[None] / sample_rate
  # Amplitude 10^(-3) after the decay time.
  envelope = jnp.exp2(-9.965784 * seconds / decay_seconds_B[:, None])
  tail = jnp.where(seconds >= _DIRECT_SECONDS, noise * envelope, 0)
  direct_B = 10 ** (direct_db_B / 10)  # Energy, that of the tail being 1.
  scale_B = jax.lax.rsqrt(jnp.square(tail).sum(axis=1) * (1 + direct_B))
  response = tail * scale_B[:, None]
  return response.at[:, 0].set(jnp.sqrt(direct_B / (1 + direct_B)))


def reverberate(
  audio_BxS: jax.Array, lengths_B: jax.Array, response_BxR: jax.Array
) -> jax.Array:
  """Convolves clips with room responses; what rings on after the end is cut.

  The direct sound is at sample 0 of a response, so that clips do not move.
  """
  reverberant = convolution.convolve(audio_BxS, response_BxR)
  return waveforms.cut(reverberant, lengths_B)
