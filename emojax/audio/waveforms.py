"""Changes of single samples: level, noise, place in time, silenced spans.

Everywhere `audio_BxS` is float32 and zero from `lengths_B` on, and so is the
result.
"""

import math

import jax
import jax.numpy as jnp


def cut(audio_BxS: jax.Array, lengths_B: jax.Array) -> jax.Array:
  """Sets what is behind the end of each clip to zero."""
  inside = jnp.arange(audio_BxS.shape[1])[None] < lengths_B[:, None]
  return jnp.where(inside, audio_BxS, 0)


def power(audio_BxS: jax.Array, lengths_B: jax.Array) -> jax.Array:
  """Mean square of the samples before the end, 0 of an empty clip: [B]."""
  total_B = jnp.square(audio_BxS).sum(axis=1)
  return total_B / jnp.maximum(lengths_B, 1)


def amplitude(decibels: jax.Array) -> jax.Array:
  """10^(dB / 20); an exponential function takes less time than a power."""
  return jnp.exp(decibels * (math.log(10) / 20))


def gain(audio_BxS: jax.Array, decibels_B: jax.Array) -> jax.Array:
  """Changes the level by so many dB; nothing is clipped."""
  return audio_BxS * amplitude(decibels_B)[:, None]


def add_noise(
  audio_BxS: jax.Array,
  lengths_B: jax.Array,
  noise_BxS: jax.Array,
  snr_db_B: jax.Array,
) -> jax.Array:
  """Adds noise at a signal-to-noise ratio in dB, powers over the clip's length.

  The noise is of any scale and numeric type; silence adds nothing.
  """
  noise_BxS = cut(noise_BxS.astype(audio_BxS.dtype), lengths_B)
  noise_power_B = power(noise_BxS, lengths_B)
  wanted_B = power(audio_BxS, lengths_B) / 10 ** (snr_db_B / 10)
  safe_B = jnp.where(noise_power_B > 0, noise_power_B, 1)
  return audio_BxS + jnp.sqrt(wanted_B / safe_B)[:, None] * noise_BxS


def shift(
  audio_BxS: jax.Array, lengths_B: jax.Array, samples_B: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Moves clips by int32 `samples_B`, at most S: later above 0, zeros first.

  What leaves the S samples at either end is lost.
  """
  num_samples = audio_BxS.shape[1]
  padded = jnp.pad(audio_BxS, ((0, 0), (num_samples, num_samples)))
  moved = jax.vmap(jax.lax.dynamic_slice, in_axes=(0, 0, None))(
    padded, (num_samples - samples_B)[:, None], (num_samples,)
  )
  return moved, jnp.clip(lengths_B + samples_B, 0, num_samples)


def crop(
  audio_BxS: jax.Array,
  lengths_B: jax.Array,
  place_B: jax.Array,
  share_B: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Keeps a part of each clip, at least one sample, moved to the beginning.

  Args:
    place_B: where it lies among all places it can have, from 0 (at the
      beginning) to 1 (at the end).
    share_B: its length as a share of the clip's, above 0 to 1.
  """
  kept_B = jnp.round(lengths_B * share_B).astype(jnp.int32)
  kept_B = jnp.clip(kept_B, jnp.minimum(lengths_B, 1), lengths_B)
  start_B = jnp.round(place_B * (lengths_B - kept_B)).astype(jnp.int32)
  moved, _ = shift(audio_BxS, lengths_B, -start_B)
  return cut(moved, kept_B), kept_B


def mask_time(
  audio_BxS: jax.Array,
  lengths_B: jax.Array,
  place_BxM: jax.Array,
  share_BxM: jax.Array,
) -> jax.Array:
  """Silences M spans of each clip (SpecAugment: Park et al. 2019, section 2).

  Where each span lies among all places it can have, and its length as a share
  of the clip's, are both from 0 to 1.
  """
  width_BxM = jnp.round(share_BxM * lengths_B[:, None])
  start_BxM = jnp.round(place_BxM * (lengths_B[:, None] - width_BxM))
  time = jnp.arange(audio_BxS.shape[1])[None, :, None]
  start, width = start_BxM[:, None], width_BxM[:, None]
  hidden = ((time >= start) & (time < start + width)).any(axis=-1)
  return jnp.where(hidden, 0, audio_BxS)
