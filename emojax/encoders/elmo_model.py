"""ELMo's network: a character CNN, then LSTM language models, both ways.

Sources: Peters et al. 2018, "Deep contextualized word representations",
section 3; Kim et al. 2016, "Character-aware neural language models", section 2
(characters, highways); Jozefowicz et al. 2016, "Exploring the limits of
language modeling" (sizes); Sak et al. 2014, "Long short-term memory recurrent
neural network architectures for large scale acoustic modeling", section 2.2
(recurrent projection). What these leave open follows the code that trained the
published weights, allenai/bilm-tf.

B sentences of T words; C characters of a word, D wide; N words of a batch; F
filters in all; K cells of an LSTM and P values of its projection.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

# A character is a byte of UTF-8 or one of these five marks.
BEGIN_SENTENCE, END_SENTENCE, BEGIN_WORD, END_WORD, PADDING = range(256, 261)
NUM_CHARACTERS = 261

_ACTIVATIONS = {"relu": nn.relu, "tanh": jnp.tanh}


@dataclasses.dataclass(frozen=True)
class Config:
  """The fields of a published `options.json` that shape the network.

  Attributes:
    activation: 'relu' or 'tanh', after the pooled convolutions.
    embedding_dim: D.
    filters: (width, number) of each convolution over characters.
    max_characters_per_token: C, with the marks of begin and end of the word.
    n_highway: number of highway layers.
    dim: K.
    projection_dim: P.
    n_layers: number of LSTM layers of each direction.
    use_skip_connections: add a layer's input to its output, from the second
      layer on.
    cell_clip: bound of the cells' values; None for none.
    proj_clip: bound of the projections' values; None for none.
  """

  activation: str
  embedding_dim: int
  filters: tuple[tuple[int, int], ...]
  max_characters_per_token: int
  n_highway: int
  dim: int
  projection_dim: int
  n_layers: int
  use_skip_connections: bool
  cell_clip: float | None
  proj_clip: float | None


class CharacterConvolution(nn.Module):
  """Convolution over a word's characters and maximum over its places."""

  width: int
  filters: int

  @nn.compact
  def __call__(self, x_NxCxD: jax.Array) -> jax.Array:
    """Returns float32 [N, filters]."""
    num_words, num_characters, dim = x_NxCxD.shape
    kernel = self.param(
      "kernel",
      nn.initializers.lecun_normal(in_axis=(0, 1)),
      (self.width, dim, self.filters),
    )
    bias = self.param("bias", nn.initializers.zeros_init(), (self.filters,))
    kernel = kernel.reshape(self.width * dim, self.filters)
    x = x_NxCxD.reshape(num_words, num_characters * dim)

    # One place after the other: a convolution that keeps the values of all
    # places until the maximum needs 44 times the memory, 0.7 GB for the widest
    # filters and 4,096 words, and took 2.7 times as long on a CPU.
    def take_maximum(maximum, place):
      window = jax.lax.dynamic_slice_in_dim(
        x, place * dim, self.width * dim, axis=1
      )
      return jnp.maximum(maximum, window @ kernel), None

    lowest = jnp.full((num_words, self.filters), -jnp.inf, x.dtype)
    places = jnp.arange(num_characters - self.width + 1)
    return jax.lax.scan(take_maximum, lowest, places)[0] + bias[None]


class Highway(nn.Module):
  """A highway layer (Srivastava et al. 2015).

  The published weights call the gate "carry", yet it opens the way through the
  transformation: y = carry * transform + (1 - carry) * x.
  """

  @nn.compact
  def __call__(self, x_NxF: jax.Array) -> jax.Array:
    """Returns float32 [N, F]."""
    width = x_NxF.shape[-1]
    carry_NxF = nn.sigmoid(nn.Dense(width, name="carry")(x_NxF))
    transform_NxF = nn.relu(nn.Dense(width, name="transform")(x_NxF))
    return carry_NxF * transform_NxF + (1 - carry_NxF) * x_NxF


class CharacterEncoder(nn.Module):
  """Words from their characters, one by one, without context."""

  config: Config

  @nn.compact
  def __call__(self, characters_NxC: jax.Array) -> jax.Array:
    """Returns float32 [N, P].

    The padding of a word is a character like any other: it was in training.
    """
    config = self.config
    x_NxCxD = nn.Embed(NUM_CHARACTERS, config.embedding_dim, name="embedding")(
      characters_NxC
    )
    pooled = [
      CharacterConvolution(width, filters, name=f"convolution_{i}")(x_NxCxD)
      for i, (width, filters) in enumerate(config.filters)
    ]
    x_NxF = _ACTIVATIONS[config.activation](jnp.concatenate(pooled, axis=-1))
    for i in range(config.n_highway):
      x_NxF = Highway(name=f"highway_{i}")(x_NxF)
    return nn.Dense(config.projection_dim, name="projection")(x_NxF)


class ProjectedLstm(nn.Module):
  """One direction of an LSTM layer with clipped cells and projections.

  The gates stand in TensorFlow's order: input, new value, forget, output. Its
  cell adds 1 to the forget gate; the stored bias does not have it.

  Attributes:
    config: sizes and bounds.
    reverse: from the last word to the first.
  """

  config: Config
  reverse: bool

  @nn.compact
  def __call__(self, x_BxTxP: jax.Array, mask_BxT: jax.Array) -> jax.Array:
    """Returns float32 [B, T, P]; zero where `mask_BxT` is false.

    The state begins with zeros and stays zero in the padding, wherever that
    stands: a sentence begins afresh in both directions.
    """
    cells, projection = self.config.dim, self.config.projection_dim
    initializer = nn.initializers.lecun_normal()
    kernel = self.param("input_kernel", initializer, (projection, 4 * cells))
    recurrent_kernel = self.param(
      "recurrent_kernel", initializer, (projection, 4 * cells)
    )
    bias = self.param("bias", nn.initializers.zeros_init(), (4 * cells,))
    projection_kernel = self.param(
      "projection_kernel", initializer, (cells, projection)
    )

    def step(state, inputs):
      cell_BxK, output_BxP = state
      gates, keep_Bx1 = inputs
      gates += output_BxP @ recurrent_kernel
      enter, new, forget, leave = jnp.split(gates, 4, axis=-1)
      cell_BxK = nn.sigmoid(forget + 1) * cell_BxK
      cell_BxK += nn.sigmoid(enter) * jnp.tanh(new)
      cell_BxK = keep_Bx1 * _clip(cell_BxK, self.config.cell_clip)
      hidden_BxK = nn.sigmoid(leave) * jnp.tanh(cell_BxK)
      output_BxP = hidden_BxK @ projection_kernel
      output_BxP = keep_Bx1 * _clip(output_BxP, self.config.proj_clip)
      return (cell_BxK, output_BxP), output_BxP

    # All words at once, outside of the recurrence: nearly half of the work.
    gates_TxBxG = jnp.swapaxes(x_BxTxP, 0, 1) @ kernel + bias[None, None]
    keep_TxBx1 = mask_BxT.T[..., None].astype(x_BxTxP.dtype)
    zeros = tuple(
      jnp.zeros((len(x_BxTxP), width), x_BxTxP.dtype)
      for width in (cells, projection)
    )
    _, output_TxBxP = jax.lax.scan(
      step, zeros, (gates_TxBxG, keep_TxBx1), reverse=self.reverse
    )
    return jnp.swapaxes(output_TxBxP, 0, 1)


class BidirectionalLanguageModel(nn.Module):
  """ELMo's layers for sentences of words; Peters et al. 2018, section 3.2.

  Every sentence starts from states of zeros, so it has the same vectors each
  time. AllenNLP and bilm-tf carry the states of a batch into the next one, as
  in training: theirs differ a little from call to call ("Notes on statefulness
  and non-determinism" in AllenNLP's tutorial of ELMo).
  """

  config: Config

  @nn.compact
  def __call__(
    self, characters_BxTxC: jax.Array, lengths_B: jax.Array
  ) -> dict[str, jax.Array | tuple[jax.Array, ...]]:
    """Runs the language models of both directions.

    Args:
      characters_BxTxC: int32 [B, T + 2, C], as `elmo.characters` gives them,
        with the marks of begin and end of the sentence.
      lengths_B: int32 [B], words in each sentence, without the marks.

    Returns:
      'hidden_states': the character layer, twice side by side, then each LSTM
        layer, forward beside backward: float32 [B, T, 2 P], without the marks;
        zero in the padding.
      'mask': bool [B, T], true at words.
    """
    batch, length, num_characters = characters_BxTxC.shape
    words_NxP = CharacterEncoder(self.config, name="characters")(
      characters_BxTxC.reshape(batch * length, num_characters)
    )
    words_BxTxP = words_NxP.reshape(batch, length, -1)
    marked_BxT = jnp.arange(length)[None] < lengths_B[:, None] + 2
    mask_BxT = jnp.arange(length - 2)[None] < lengths_B[:, None]

    forward = backward = words_BxTxP
    hidden_states = [_beside(forward, backward, mask_BxT)]
    for i in range(self.config.n_layers):
      forward = self._layer(i, "forward", forward, marked_BxT)
      backward = self._layer(i, "backward", backward, marked_BxT)
      hidden_states.append(_beside(forward, backward, mask_BxT))
    return {"hidden_states": tuple(hidden_states), "mask": mask_BxT}

  def _layer(self, i, direction, x_BxTxP, mask_BxT):
    output_BxTxP = ProjectedLstm(
      self.config, reverse=direction == "backward", name=f"{direction}_{i}"
    )(x_BxTxP, mask_BxT)
    if i > 0 and self.config.use_skip_connections:
      output_BxTxP += x_BxTxP
    return output_BxTxP


def _beside(forward_BxTxP, backward_BxTxP, mask_BxT):
  """Both directions side by side, without the marks of the sentence."""
  both_BxTxH = jnp.concatenate([forward_BxTxP, backward_BxTxP], axis=-1)
  return jnp.where(mask_BxT[..., None], both_BxTxH[:, 1:-1], 0)


def _clip(x, bound):
  return x if bound is None else jnp.clip(x, -bound, bound)
