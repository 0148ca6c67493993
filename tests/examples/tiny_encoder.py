"""An encoder from outside: one strided convolution over the waveform.

  python launch.py --config=tests/examples/tiny_encoder.py

The config file registers the encoder, so that every command that takes the
config knows it; `python -m emojax predict` does once the file is imported.
"""

import dataclasses

import jax.numpy as jnp
from flax import linen as nn

from configs import speech
from emojax import encoders

FRAME = 320  # Samples: 20 ms.


class TinyModule(nn.Module):
  """A frame is a linear layer of its 320 samples, and ReLU."""

  width: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, audio_BxS, lengths_B, train=False):
    x_BxTxD = nn.Conv(
      self.width, (FRAME,), (FRAME,), padding="VALID", dtype=self.dtype
    )(audio_BxS[..., None])
    x_BxTxD = nn.relu(x_BxTxD)
    frames_Bx1 = lengths_B[:, None] // FRAME
    return {
      "last_hidden_state": x_BxTxD,
      "hidden_states": (x_BxTxD,),
      "mask": jnp.arange(x_BxTxD.shape[1])[None] < frames_Bx1,
    }


@dataclasses.dataclass(frozen=True)
class Tiny(encoders.Encoder):
  """What the house asks of it; its fields are kept with a trained system."""

  width: int = 16
  kinds = ("tiny",)
  samples_per_frame = FRAME
  min_samples = FRAME

  def module(self, dtype, remat=False):
    return TinyModule(self.width, dtype)

  def num_frames(self, num_samples):
    return num_samples // FRAME


encoders.register("tiny", Tiny(), "tiny encoder")


def get_config():
  """The speech study with it, trained for two epochs."""
  config = speech.get_config("demo")
  config.title = "The speech study with an encoder from outside"
  config.model.encoder = "tiny"
  config.model.hidden = 8
  config.batch_size = 8
  config.num_epochs = 2
  config.num_replicates = 1
  return config
