"""RLPS' policy while it learns: Algorithm 1, line 15."""

from typing import Any

import flax
import jax
import optax
from flax import linen as nn

from emojax.models import selector
from emojax.models.selector import Selection


@flax.struct.dataclass
class Policy:
  """The policy's parameters, and the state of their optimizer."""

  params: Any
  optimizer: optax.OptState


def update_policy(
  tx: optax.GradientTransformation,
  network: nn.Module,
  policy: Policy,
  selection: Selection,
  value_N: jax.Array,
  key: jax.Array,
  batch_size: int,
) -> Policy:
  """Line 15: once through the pass, in shuffled batches.

  Args:
    tx: the policy's optimizer.
    network: gives logits of states.
    policy: before the update.
    selection: the pass.
    value_N: see `selector.action_values`.
    key: of the shuffling.
    batch_size: examples of one step; what is left over at the end waits for
      another epoch. All of them in one step where there are fewer.
  """
  size = min(batch_size, len(value_N))
  order_N = jax.random.permutation(key, len(value_N))
  batches = order_N[: len(order_N) // size * size].reshape(-1, size)

  def step(policy: Policy, index_B):
    of_batch = (selection.state_NxK, selection.retained_N, value_N)
    grads = jax.grad(selector.policy_loss)(
      policy.params, network, *(values[index_B] for values in of_batch)
    )
    updates, optimizer = tx.update(grads, policy.optimizer, policy.params)
    return Policy(optax.apply_updates(policy.params, updates), optimizer), None

  return jax.lax.scan(step, policy, batches)[0]
