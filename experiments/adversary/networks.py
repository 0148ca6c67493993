"""C1-S and DANN-S on isolated clips, with what the literature puts on top.

The program of `emojax/trainers/dann.py`, with a loss that has more to it. All
folds and initialisations are trained side by side.

F folds, I initialisations, T steps, U clips, N clips of a batch, D features, K
units of the representation, C emotions, S speakers, A discriminators, E values
that a discriminator reads.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import ml_collections
from jax import lax

from emojax import losses, ops
from emojax.models.dann import Dann, DomainClassifier
from emojax.models.recurrent import Packing
from emojax.trainers import dann, optimizers

# From representations [N, K], speakers [N], who is labelled, bool [N], and the
# number of speakers to a loss.
Distance = Callable[[jax.Array, jax.Array, jax.Array, int], jax.Array]


class Loss(NamedTuple):
  """What is trained; a program is compiled for each.

  Attributes:
    dropout: of the network.
    discriminators: how many; they differ in their first weights.
    conditional: whether they read the products of the representation with the
      probabilities of emotions (Long et al. 2018, CDAN).
    entropy_weighted: whether clips with sure emotions count more (CDAN+E).
    penalised: whether their own losses have half the squared gradient of a
      clip's loss by what is read (Mescheder et al. 2018, "Which training
      methods for GANs do actually converge?", R1).
    distance: instead of discriminators.
    recolour: "swap" gives a labelled clip the mean and deviation of another
      labelled speaker, "mix" has every other clip somewhere between the two
      (Zhou et al. 2021, "Domain generalization with MixStyle": Beta(0.1, 0.1)).
    noise: deviation of Gaussian noise on the features.
  """

  dropout: float = 0.0
  discriminators: int = 1
  conditional: bool = False
  entropy_weighted: bool = False
  penalised: bool = False
  distance: Distance | None = None
  recolour: str = ""
  noise: float = 0.0


class Weights(NamedTuple):
  """The numbers in a loss.

  Attributes:
    reversal: lambda of each discriminator, or the weight of the distance; 0 is
      C1-S.
    penalty: of the squared gradient.
    sees: whether clips of the held-out speakers are in the domain loss.
  """

  reversal: float = 0.0
  penalty: float = 0.0
  sees: bool = True


@flax.struct.dataclass
class Fold:
  """What is learnt with some speakers held out; arrays may lead with [F]."""

  features_UxD: Any
  label_U: Any  # -1 for who is held out.
  batches_TxN: Any  # Clips of each step.
  # Statistics of each labelled speaker, and numbers of such speakers.
  mean_SxD: Any
  std_SxD: Any
  labelled_L: Any


def correlation_distance(representation_NxK, speaker_N, labelled_N, count):
  """CORAL of labelled and unlabelled clips: Sun & Saenko 2016, Eq. (1)."""
  del speaker_N, count
  source, target = (
    _covariance(representation_NxK, rows) for rows in (labelled_N, ~labelled_N)
  )
  return jnp.square(source - target).sum() / (4 * len(source) ** 2)


def mean_distance(representation_NxK, speaker_N, labelled_N, count):
  """MMD with a linear kernel: of speakers' means from the mean of all."""
  del labelled_N
  one_hot_NxS = jax.nn.one_hot(speaker_N, count)
  share_S = one_hot_NxS.sum(0)
  mean_SxK = one_hot_NxS.T @ representation_NxK
  mean_SxK /= jnp.maximum(share_S, 1)[:, None]
  mean_1xK = representation_NxK.mean(0, keepdims=True)
  far_S = jnp.square(mean_SxK - mean_1xK).sum(1)
  return (share_S * far_S).sum() / len(speaker_N)


def _covariance(x_NxK, rows_N):
  weight_N = rows_N / rows_N.sum()
  centred_NxK = x_NxK - weight_N @ x_NxK
  return (weight_N[:, None] * centred_NxK).T @ centred_NxK


def _packing(count: int) -> Packing:
  """Each clip is a conversation of its own."""
  ones_Nx1 = jnp.ones((count, 1), jnp.int32)
  return Packing(jnp.arange(count)[:, None], ones_Nx1)


def _domain_loss(params, loss, weights, discriminator, found, domain_N):
  """The discriminators' losses, summed, with the reversal inside.

  Args:
    params: of the discriminators, [A, ...].
    loss: says what they read, and how they learn.
    weights: in it.
    discriminator: a `DomainClassifier`.
    found: representations [N, K] and emotion logits [N, C].
    domain_N: the speakers whom they have to name, -1 for clips left out.
  """
  read_NxE, logits_NxC = found
  weight_N = (domain_N >= 0).astype(jnp.float32)
  share_NxC = jax.nn.softmax(logits_NxC)
  if loss.conditional:
    products = jnp.einsum("nk,nc->nkc", read_NxE, lax.stop_gradient(share_NxC))
    read_NxE = products.reshape(len(products), -1)
  if loss.entropy_weighted:
    entropy_N = -(share_NxC * jax.nn.log_softmax(logits_NxC)).sum(1)
    entropy_N = ops.gradient_reversal(entropy_N, weights.reversal)
    weight_N *= 1 + jnp.exp(-entropy_N)
  weight_N /= lax.stop_gradient(weight_N.sum())

  def one(params_of_one):
    def loss_of(read_E, domain, scale):
      logits_1xS = discriminator.apply(
        {"params": params_of_one}, read_E[None], scale
      )
      return losses.masked_cross_entropy(
        logits_1xS, domain[None], domain[None] >= 0
      )

    over_clips = (0, 0, None)
    loss_N = jax.vmap(loss_of, over_clips)(read_NxE, domain_N, weights.reversal)
    total = weight_N @ loss_N
    if loss.penalised:
      # A scale of -1 leaves the gradient as it is.
      gradient_NxE = jax.vmap(jax.grad(loss_of), over_clips)(
        lax.stop_gradient(read_NxE), domain_N, -1.0
      )
      penalty_N = weights.penalty / 2 * jnp.square(gradient_NxE).sum(1)
      total += lax.stop_gradient(weight_N) @ penalty_N
    return total

  return jax.vmap(one)(params).sum()


def _recoloured(how: str, fold: Fold, x_NxD, speaker_N, key):
  """Clips with the mean and deviation of other labelled speakers."""
  keys, shape = jax.random.split(key, 3), speaker_N.shape
  other_N = jax.random.choice(keys[0], fold.labelled_L, shape)
  keep_Nx1 = jnp.zeros((*shape, 1))
  if how == "mix":
    keep_Nx1 = jnp.where(
      jax.random.bernoulli(keys[1], 0.5, keep_Nx1.shape),
      jax.random.beta(keys[2], 0.1, 0.1, keep_Nx1.shape),
      1.0,
    )
  mean_NxD, std_NxD = (
    keep_Nx1 * of_SxD[speaker_N] + (1 - keep_Nx1) * of_SxD[other_N]
    for of_SxD in (fold.mean_SxD, fold.std_SxD)
  )
  own_NxD = (x_NxD - fold.mean_SxD[speaker_N]) / fold.std_SxD[speaker_N]
  return own_NxD * std_NxD + mean_NxD


def _loss(params, loss, weights, networks, fold, clips, key):
  """Of one batch; `clips` are their numbers [N] and the speakers of all [U]."""
  model, discriminator = networks
  batch_N, speaker_U = clips
  keys = jax.random.split(key, 3)
  speaker_N, label_N = speaker_U[batch_N], fold.label_U[batch_N]
  labelled_N = label_N >= 0
  x_NxD = fold.features_UxD[batch_N]
  if loss.recolour:
    changed = _recoloured(loss.recolour, fold, x_NxD, speaker_N, keys[0])
    x_NxD = jnp.where(labelled_N[:, None], changed, x_NxD)
  if loss.noise:
    x_NxD += loss.noise * jax.random.normal(keys[1], x_NxD.shape)
  logits_NxC, out = model.apply(
    {"params": params["model"]},
    {"audio": x_NxD},
    _packing(len(batch_N)),
    0.0,
    train=True,
    rngs={"dropout": keys[2]},
  )
  emotion_loss = losses.masked_cross_entropy(logits_NxC, label_N, labelled_N)
  representation_NxK = out["representation"]
  if loss.distance:
    far = loss.distance(
      representation_NxK, speaker_N, labelled_N, discriminator.num_domains
    )
    return emotion_loss + weights.reversal * far
  return emotion_loss + _domain_loss(
    params["domain_classifier"],
    loss,
    weights,
    discriminator,
    (representation_NxK, logits_NxC),
    jnp.where(labelled_N | weights.sees, speaker_N, -1),
  )


def _first_weights(loss, networks, num_emotions, width, key):
  """Of one run."""
  model, discriminator = networks
  num_read = model.hidden * (num_emotions if loss.conditional else 1)
  keys = jax.random.split(jax.random.fold_in(key, 1), loss.discriminators)
  domain = jax.vmap(discriminator.init, (0, None, None))(
    keys, jnp.zeros((1, num_read)), 0.0
  )
  features = {"audio": jnp.zeros((1, width))}
  return {
    "model": model.init(key, features, _packing(1), 0.0)["params"],
    "domain_classifier": domain["params"],
  }


def _run(config, loss, networks, weights, speaker_U, seed, fold):
  """Trains in one fold from one initialisation: emotion logits [U, C]."""
  model, _ = networks
  options, tx = config.stabilised, optimizers.adam_l2(config.optimizer.l2)
  num_clips, width = fold.features_UxD.shape
  num_steps = len(fold.batches_TxN)
  key = jax.random.fold_in(jax.random.key(config.seed), seed)
  params = _first_weights(loss, networks, model.num_emotions, width, key)

  def step(state, now):
    params, optimizer_state, average = state
    number, batch_N = now
    rise = optimizers.ganin_ramp(number, num_steps)
    grads = jax.grad(_loss)(
      params,
      loss,
      weights._replace(reversal=weights.reversal * rise),
      networks,
      fold,
      (batch_N, speaker_U),
      jax.random.fold_in(jax.random.fold_in(key, 2), number),
    )
    updates, optimizer_state = tx.update(
      dann.clip(grads, options.clip_norm), optimizer_state, params
    )
    rate = config.optimizer.learning_rate
    params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
    average = optimizers.moving_average(
      average, params, options.averaging, number
    )
    return (params, optimizer_state, average), None

  (_, _, average), _ = lax.scan(
    step,
    (params, tx.init(params), params),
    (jnp.arange(num_steps), fold.batches_TxN),
  )
  features = {"audio": fold.features_UxD}
  logits_UxC, _ = model.apply(
    {"params": average["model"]}, features, _packing(num_clips), 0.0
  )
  return logits_UxC


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def train(
  config: ml_collections.FrozenConfigDict,
  loss: Loss,
  num_emotions: int,
  weights: Weights,
  speaker_U: jax.Array,
  folds: Fold,
) -> jax.Array:
  """Trains in all folds: emotion logits [I, F, U, C].

  Args:
    config: of the recipe and the number of initialisations, see
      `configs/dann.py`.
    loss, weights: what is trained.
    num_emotions: of how many a clip has one.
    speaker_U: numbers of speakers, from 0.
    folds: all of them, arrays lead with [F].
  """
  num_speakers, hidden = folds.mean_SxD.shape[1], config.model.hidden
  model = Dann(
    num_emotions,
    num_speakers,
    hidden,
    config.model.num_heads,
    dropout=loss.dropout,
    domain_classifier=False,
  )
  networks = model, DomainClassifier(num_speakers, hidden)
  one = functools.partial(_run, config, loss, networks, weights, speaker_U)
  seeds_I = jnp.arange(config.num_replicates)
  return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(seeds_I, folds)
