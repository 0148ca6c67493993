"""Architecture of wav2vec 2.0, HuBERT and WavLM: the fields that shape them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from emojax.encoders import transformer_config
from emojax.errors import UserError
from emojax.weights import json_files

FAMILIES = ("wav2vec2", "hubert", "wavlm")
_LONGEST_FRAME = 2**20  # Samples: a minute.


@dataclasses.dataclass(frozen=True)
class SpeechConfig:
  """A speech encoder; names and defaults are those of `config.json`.

  The defaults are the base models' (94.4 M parameters).

  Attributes:
    model_type: one of `FAMILIES`.
    feat_extract_norm: 'group' normalises each channel of the first convolution
      over time; 'layer' normalises the channels after every convolution.
    feat_proj_layer_norm: whether features are normalised before they are
      projected; false in a few HuBERT models only.
    do_stable_layer_norm: whether the transformer normalises before (pre-norm,
      large models) or after (post-norm) each of its parts.
    num_buckets, max_bucket_distance: of WavLM's relative position bias.
  """

  model_type: str = "wav2vec2"
  vocab_size: int = 32
  hidden_size: int = 768
  num_hidden_layers: int = 12
  num_attention_heads: int = 12
  intermediate_size: int = 3072
  hidden_act: str = "gelu"
  hidden_dropout: float = 0.1
  activation_dropout: float = 0.1
  attention_dropout: float = 0.1
  feat_proj_dropout: float = 0.0
  final_dropout: float = 0.1
  layerdrop: float = 0.1
  layer_norm_eps: float = 1e-5
  feat_extract_norm: str = "group"
  feat_extract_activation: str = "gelu"
  feat_proj_layer_norm: bool = True
  conv_dim: tuple[int, ...] = (512,) * 7
  conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
  conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
  conv_bias: bool = False
  num_conv_pos_embeddings: int = 128
  num_conv_pos_embedding_groups: int = 16
  do_stable_layer_norm: bool = False
  apply_spec_augment: bool = True
  mask_time_prob: float = 0.05
  mask_time_length: int = 10
  mask_time_min_masks: int = 2
  mask_feature_prob: float = 0.0
  mask_feature_length: int = 10
  mask_feature_min_masks: int = 0
  num_buckets: int = 320
  max_bucket_distance: int = 800

  @classmethod
  def from_json(cls, fields: Mapping[str, Any], source: str) -> Self:
    """Reads the object of a `config.json`; `source` is named in errors.

    Raises:
      UserError: another architecture, or a part of it that is not here.
    """
    family = transformer_config.family(fields, source, "speech", FAMILIES)
    for name in ("add_adapter", "adapter_attn_dim", "conv_pos_batch_norm"):
      if fields.get(name):
        raise UserError(
          f"{source}: {name} = {fields[name]} is not supported; choose a "
          "checkpoint without it"
        )
    if fields.get("vocab_size", 0) is None:  # Of a head, which has none then.
      fields = {name: fields[name] for name in fields.keys() - {"vocab_size"}}
    values = json_files.known_fields(cls, fields, source)
    if family != "hubert":
      values["feat_proj_layer_norm"] = True  # Only HuBERT has the choice.
    config = cls(**values)
    config._check(source)
    return config

  def _check(self, source: str) -> None:
    activations = "hidden_act", "feat_extract_activation"
    transformer_config.check(self, source, *activations)
    fault = ""
    if (
      len({*map(len, (self.conv_dim, self.conv_stride, self.conv_kernel))}) > 1
    ):
      fault = "conv_dim, conv_stride and conv_kernel differ in length"
    elif self.min_samples > _LONGEST_FRAME:
      fault = f"a frame takes {self.min_samples} samples"
    elif self.feat_extract_norm not in ("group", "layer"):
      fault = (
        f"feat_extract_norm = {self.feat_extract_norm!r} is not group or layer"
      )
    elif self.hidden_size % self.num_conv_pos_embedding_groups:
      fault = (
        f"hidden_size = {self.hidden_size} is no multiple of "
        f"num_conv_pos_embedding_groups = {self.num_conv_pos_embedding_groups}"
      )
    elif self.max_bucket_distance <= self.num_buckets // 4:
      fault = (
        f"max_bucket_distance = {self.max_bucket_distance} is too small for "
        f"num_buckets = {self.num_buckets}"
      )
    if fault:
      raise UserError(f"{source}: {fault}; is this file damaged?")

  def num_frames(self, num_samples):
    """Counts the frames that a recording fills entirely; arrays, too."""
    for width, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
      num_samples = (num_samples - width) // stride + 1
    return num_samples * (num_samples > 0)

  @property
  def min_samples(self) -> int:
    """The samples that the first frame sees: 400, which is 25 ms."""
    samples = 1
    layers = [*zip(self.conv_kernel, self.conv_stride, strict=True)]
    for width, stride in reversed(layers):
      samples = (samples - 1) * stride + width
    return samples

  @property
  def samples_per_frame(self) -> int:
    """The samples from one frame to the next: 320, which is 20 ms."""
    return int(np.prod(self.conv_stride))
