"""Architecture of Whisper: the fields of `config.json` that shape it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from emojax.encoders import transformer_config
from emojax.encoders.layers import ACTIVATIONS
from emojax.errors import UserError
from emojax.weights import json_files

HOP = 160  # Samples from one spectrum to the next: 10 ms.
SAMPLES_PER_FRAME = 2 * HOP  # The second convolution takes every other one.

_LARGEST = 2**18  # Far beyond what is published.
_SIZES = (
  *("vocab_size", "num_mel_bins", "d_model"),
  *("max_source_positions", "max_target_positions"),
  *("encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"),
  *("decoder_layers", "decoder_attention_heads", "decoder_ffn_dim"),
)


@dataclasses.dataclass(frozen=True)
class WhisperConfig:
  """Encoder and decoder; names and defaults are those of `config.json`.

  The defaults are those of whisper-base (72.6 M parameters).

  Attributes:
    num_mel_bins: 80, or 128 from large-v3 on.
    activation_function: of the dense layers; the convolutions have GELU.
    max_source_positions: frames of the encoder's window: 1,500, which is 30 s.
  """

  model_type: str = "whisper"
  vocab_size: int = 51_865
  num_mel_bins: int = 80
  d_model: int = 512
  encoder_layers: int = 6
  encoder_attention_heads: int = 8
  encoder_ffn_dim: int = 2048
  decoder_layers: int = 6
  decoder_attention_heads: int = 8
  decoder_ffn_dim: int = 2048
  max_source_positions: int = 1500
  max_target_positions: int = 448
  activation_function: str = "gelu"
  dropout: float = 0.0
  attention_dropout: float = 0.0
  activation_dropout: float = 0.0
  encoder_layerdrop: float = 0.0
  apply_spec_augment: bool = False
  mask_time_prob: float = 0.05
  mask_time_length: int = 10
  mask_time_min_masks: int = 2
  mask_feature_prob: float = 0.0
  mask_feature_length: int = 10
  mask_feature_min_masks: int = 0

  @classmethod
  def from_json(cls, fields: Mapping[str, Any], source: str) -> Self:
    """Reads the object of a `config.json`; `source` is named in errors.

    Raises:
      UserError: another architecture, or sizes that do not fit.
    """
    transformer_config.family(fields, source, "speech", ("whisper",))
    config = cls(**json_files.known_fields(cls, fields, source))
    for name in _SIZES:
      if not 1 <= getattr(config, name) <= _LARGEST:
        raise UserError(
          f"{source}: {name} = {getattr(config, name)} is not between 1 and "
          f"{_LARGEST}; is this file damaged?"
        )
    for part in ("encoder", "decoder"):
      heads = getattr(config, f"{part}_attention_heads")
      if config.d_model % heads:
        raise UserError(
          f"{source}: d_model = {config.d_model} is no multiple of "
          f"{part}_attention_heads = {heads}; is this file damaged?"
        )
    if config.activation_function not in ACTIVATIONS:
      raise UserError(
        f"{source}: activation_function = {config.activation_function!r} is "
        f"none of {', '.join(ACTIVATIONS)}; is this file damaged?"
      )
    return config

  @property
  def window_samples(self) -> int:
    """The longest clip, in samples: 30 s."""
    return self.max_source_positions * SAMPLES_PER_FRAME
