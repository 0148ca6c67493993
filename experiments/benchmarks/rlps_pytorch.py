"""Algorithm 1 of RLPS in PyTorch, written for speed: the other side."""

import numpy as np
import torch

POOLS = (0, 1, 3, 5)  # After these convolutions.


class Dcnn(torch.nn.Module):
  """The classifier, with the weights of emojax."""

  def __init__(self, params):
    super().__init__()
    layers = []
    for index in range(len(params) - 2):
      kernel_HxWxCxK = params[f"conv_{index}"]["kernel"]
      channels, width = kernel_HxWxCxK.shape[2:]
      layer = torch.nn.Conv2d(channels, width, 3, padding=1)
      layer.weight.data = torch.tensor(kernel_HxWxCxK).permute(3, 2, 0, 1)
      layer.bias.data = torch.tensor(params[f"conv_{index}"]["bias"])
      layers += [layer, torch.nn.ReLU(inplace=True)]
      if index in POOLS:
        layers.append(torch.nn.MaxPool2d(2))
    self._convolutions = torch.nn.Sequential(*layers)
    self._hidden = dense(params["hidden_layer"])
    self._output = dense(params["output"])

  def forward(self, images):
    """uint8 images [B, C, H, W] to logits [B, K] and features [B, D]."""
    x = images.float() / 127.5 - 1
    x = self._convolutions(x.contiguous(memory_format=torch.channels_last))
    # In the order of emojax's kernels; channels_last makes it a view.
    x = self._hidden(x.permute(0, 2, 3, 1).flatten(1)).relu()
    return self._output(x), x


def dense(params):
  """A dense layer with the weights of emojax."""
  layer = torch.nn.Linear(*params["kernel"].shape)
  layer.weight.data = torch.tensor(params["kernel"]).T.contiguous()
  layer.bias.data = torch.tensor(params["bias"])
  return layer


def dense_stack(params):
  """The policy network, with the weights of emojax."""
  layers = []
  for index in range(len(params) - 1):
    layers += [dense(params[f"layer_{index}"]), torch.nn.ReLU()]
  return torch.nn.Sequential(*layers, dense(params["output"]))


def select_in_turn(policy, features_NxD, order_N, uniform_N):
  """Algorithm 1, lines 5 to 12, as printed: one image after another.

  Returns who is retained, with which probability, and what the policy saw.
  """
  threads = torch.get_num_threads()
  torch.set_num_threads(1)  # Products with one vector lose by more.
  mean_D, count = torch.zeros_like(features_NxD[0]), 0
  retained_N, probability_N, state_NxK = [], [], []
  with torch.inference_mode():
    for feature_D, uniform in zip(
      features_NxD[order_N].unbind(), uniform_N[order_N].tolist(), strict=True
    ):
      state_K = torch.cat([feature_D, mean_D])
      probability = policy(state_K[None]).sigmoid().item()
      retained = probability >= uniform
      if retained:
        count += 1
        mean_D = mean_D + (feature_D - mean_D) / count
      retained_N.append(retained)
      probability_N.append(probability)
      state_NxK.append(state_K)
  torch.set_num_threads(threads)
  place_N = torch.argsort(order_N)
  return (
    torch.tensor(retained_N, device=place_N.device)[place_N],
    torch.tensor(probability_N, device=place_N.device)[place_N],
    torch.stack(state_NxK)[place_N],
  )


def choose_device():
  """The GPU, if there is one, set up as JAX is by default."""
  if not torch.cuda.is_available():
    return "cpu"
  torch.set_float32_matmul_precision("high")
  torch.backends.cudnn.benchmark = True
  return "cuda"


class Pass:
  """The selection pass alone."""

  def __init__(self, weights, drawn):
    device = choose_device()
    network = dense_stack(weights).to(device)
    self._network = torch.compile(network) if device == "cuda" else network
    self._drawn = [torch.tensor(values, device=device) for values in drawn]

  def select(self):
    """Who is retained."""
    found = select_in_turn(self._network, *self._drawn)
    return found[0].cpu().numpy()


class PyTorch:
  """The same epoch in PyTorch, part by part."""

  def __init__(self, config, part, weights):
    self._config = config
    self._device = device = choose_device()
    self._images = (
      torch.tensor(part.source, device=device)
      .permute(0, 3, 1, 2)
      .contiguous(memory_format=torch.channels_last)
    )
    self._label_N = torch.tensor(part.label_N, device=device).long()
    dcnn = Dcnn(weights[0]).to(device, memory_format=torch.channels_last)
    self._parameters = list(dcnn.parameters())
    self._optimizer = torch.optim.SGD(
      self._parameters,
      config.optimizer.learning_rate,
      config.optimizer.momentum,
      weight_decay=config.optimizer.weight_decay,
    )
    policy = dense_stack(weights[1]).to(device)
    self._policy_optimizer = torch.optim.Adam(
      policy.parameters(), config.policy.learning_rate
    )
    compiled = torch.compile if device == "cuda" else lambda module: module
    self._classifier, self._policy = compiled(dcnn), compiled(policy)
    self.extract()

  def select(self):
    num_images = len(self._label_N)
    order_N = torch.randperm(num_images, device=self._device)
    uniform_N = torch.rand(num_images, device=self._device)
    self._retained_N, _, self._state_NxK = select_in_turn(
      self._policy, self._features_NxD, order_N, uniform_N
    )
    self._wait()

  def train(self, retained_N):
    index_n = torch.tensor(np.flatnonzero(retained_N), device=self._device)
    index_n = index_n[torch.randperm(len(index_n), device=self._device)]
    losses = []
    for index_B in index_n.split(self._config.batch_size):
      logits, _ = self._classifier(self._images[index_B])
      loss = torch.nn.functional.cross_entropy(logits, self._label_N[index_B])
      self._optimizer.zero_grad()
      loss.backward()
      torch.nn.utils.clip_grad_value_(
        self._parameters, self._config.optimizer.clip_value
      )
      self._optimizer.step()
      losses.append(loss.detach())
    return torch.stack(losses).mean().item()

  @torch.no_grad()
  def extract(self):
    count, size = len(self._label_N), self._config.batch_size
    # The last batch is filled up: one shape, as in emojax.
    index_N = torch.arange(-(-count // size) * size, device=self._device)
    found = [
      self._classifier(self._images[index_B])
      for index_B in (index_N % count).split(size)
    ]
    logits_NxK, features_NxD = (
      torch.cat(values)[:count] for values in zip(*found, strict=True)
    )
    size_1xD = features_NxD.square().mean(0, keepdim=True).sqrt()
    self._features_NxD = features_NxD / size_1xD.clamp_min(1e-6)
    self._true_N = logits_NxK.softmax(1).gather(1, self._label_N[:, None])[:, 0]
    self._wait()

  def update(self):
    reward_N = self._true_N - self._true_N.mean()
    factor = self._config.policy.removed_credit
    credit_N = torch.where(self._retained_N, reward_N, factor * reward_N)
    sign_N = 2.0 * self._retained_N - 1
    order_N = torch.randperm(len(credit_N), device=self._device)
    size = min(self._config.policy.batch_size, len(credit_N))
    for index_B in order_N[: len(order_N) // size * size].split(size):
      logit_B = self._policy(self._state_NxK[index_B])[:, 0]
      action_B = torch.nn.functional.logsigmoid(sign_N[index_B] * logit_B)
      self._policy_optimizer.zero_grad()
      (-(credit_N[index_B] * action_B).mean()).backward()
      self._policy_optimizer.step()
    self._wait()

  def _wait(self):
    if self._device == "cuda":
      torch.cuda.synchronize()
