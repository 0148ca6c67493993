"""ELMo in PyTorch, word by word and step by step: the reference of the tests.

After Peters et al. 2018, Kim et al. 2016 and TensorFlow's `LSTMCell`: one
sentence at a time, nothing padded, nothing batched. With it, random weights in
the layout of the published files.
"""

import copy
import itertools
import json
import pathlib

import h5py
import numpy as np
import torch

OPTIONS = {
  "lstm": {
    "use_skip_connections": True,
    "projection_dim": 6,
    "cell_clip": 3,
    "proj_clip": 3,
    "dim": 10,
    "n_layers": 2,
  },
  "char_cnn": {
    "activation": "relu",
    "filters": [[1, 4], [2, 4], [3, 5], [7, 9]],
    "n_highway": 2,
    "embedding": {"dim": 4},
    "n_characters": 262,
    "max_characters_per_token": 50,
  },
}


def options_with(**changes):
  """The options with some of their fields changed."""
  options = copy.deepcopy(OPTIONS)
  for name, value in changes.items():
    section = "lstm" if name in options["lstm"] else "char_cnn"
    assert name in options[section]
    options[section][name] = value
  return options


def write(folder, options, scale=1.0, seed=0):
  """Writes random weights in the published layout; the LSTM's by `scale`."""
  rng = np.random.default_rng(seed)
  lstm, cnn = options["lstm"], options["char_cnn"]
  cells, projection = lstm["dim"], lstm["projection_dim"]
  dim = cnn["embedding"]["dim"]
  width = sum(number for _, number in cnn["filters"])
  folder.mkdir(exist_ok=True)
  (folder / "options.json").write_text(json.dumps(options))
  with h5py.File(folder / "weights.hdf5", "w") as file:

    def put(name, *shape, scale=1.0):
      fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 1
      values = scale * rng.normal(size=shape) / np.sqrt(fan_in)
      file[name] = values.astype(np.float32)

    file["char_embed"] = rng.normal(size=(261, dim)).astype(np.float32)
    for i, (size, number) in enumerate(cnn["filters"]):
      put(f"CNN/W_cnn_{i}", 1, size, dim, number)
      put(f"CNN/b_cnn_{i}", number)
    for i, name in itertools.product(
      range(cnn["n_highway"]), ("carry", "transform")
    ):
      put(f"CNN_high_{i}/W_{name}", width, width)
      put(f"CNN_high_{i}/b_{name}", width)
    put("CNN_proj/W_proj", width, projection)
    put("CNN_proj/b_proj", projection)
    for i, j in itertools.product(range(2), range(lstm["n_layers"])):
      cell = f"RNN_{i}/RNN/MultiRNNCell/Cell{j}/LSTMCell"
      put(f"{cell}/W_0", 2 * projection, 4 * cells, scale=scale)
      put(f"{cell}/B", 4 * cells)
      put(f"{cell}/W_P_0", cells, projection, scale=scale)
  return folder


class Elmo:
  """The language models in a folder with options.json and weights.hdf5."""

  def __init__(self, folder: pathlib.Path):
    options = json.loads((folder / "options.json").read_text())
    self.lstm, self.char_cnn = options["lstm"], options["char_cnn"]
    self.file = h5py.File(folder / "weights.hdf5", "r")

  def tensor(self, name: str) -> torch.Tensor:
    return torch.tensor(self.file[name][()])

  @torch.no_grad()
  def layers(self, sentence: list[str]) -> list[torch.Tensor]:
    """Gives each layer's [T, 2 P] for the T words of a sentence."""
    codes = [[256], *(list(word.encode()) for word in sentence), [257]]
    forward = torch.stack([self.word(code) for code in codes])
    backward = forward
    layers = [torch.cat([forward, backward], 1)]
    for i in range(self.lstm["n_layers"]):
      up = self.run(f"RNN_0/RNN/MultiRNNCell/Cell{i}/LSTMCell", forward)
      back = self.run(
        f"RNN_1/RNN/MultiRNNCell/Cell{i}/LSTMCell", backward.flip(0)
      ).flip(0)
      if self.lstm["use_skip_connections"] and i > 0:
        up, back = up + forward, back + backward
      forward, backward = up, back
      layers.append(torch.cat([forward, backward], 1))
    return [layer[1:-1] for layer in layers]

  def word(self, code: list[int]) -> torch.Tensor:
    """Gives [P] for a word's bytes."""
    length = self.char_cnn["max_characters_per_token"]
    ids = [258, *code[: length - 2], 259]
    ids += [260] * (length - len(ids))
    embedded = self.tensor("char_embed")[ids]
    activation = {"relu": torch.relu, "tanh": torch.tanh}
    x = []
    for i, (width, _) in enumerate(self.char_cnn["filters"]):
      kernel = self.tensor(f"CNN/W_cnn_{i}")[0].permute(2, 1, 0)
      bias = self.tensor(f"CNN/b_cnn_{i}")
      found = torch.nn.functional.conv1d(embedded.T[None], kernel, bias)[0]
      assert found.shape == (len(bias), length - width + 1)
      x.append(activation[self.char_cnn["activation"]](found).amax(1))
    x = torch.cat(x)
    for i in range(self.char_cnn["n_highway"]):
      name = f"CNN_high_{i}"
      gate = torch.sigmoid(self.affine(x, name, "carry"))
      x = gate * torch.relu(self.affine(x, name, "transform")) + (1 - gate) * x
    return self.affine(x, "CNN_proj", "proj")

  def affine(self, x: torch.Tensor, group: str, name: str) -> torch.Tensor:
    kernel = self.tensor(f"{group}/W_{name}")
    return torch.nn.functional.linear(
      x, kernel.T, self.tensor(f"{group}/b_{name}")
    )

  def run(self, name: str, inputs: torch.Tensor) -> torch.Tensor:
    """Gives [T, P] for the inputs [T, P], in their order."""
    weight, bias, projection = (
      self.tensor(f"{name}/{part}") for part in ("W_0", "B", "W_P_0")
    )
    cell, state = torch.zeros(len(projection)), torch.zeros(inputs.shape[1])
    outputs = []
    for x in inputs:
      i, j, f, o = (torch.cat([x, state]) @ weight + bias).chunk(4)
      cell = cell * torch.sigmoid(f + 1.0) + torch.sigmoid(i) * torch.tanh(j)
      if self.lstm["cell_clip"] is not None:
        cell = cell.clamp(-self.lstm["cell_clip"], self.lstm["cell_clip"])
      state = (torch.sigmoid(o) * torch.tanh(cell)) @ projection
      if self.lstm["proj_clip"] is not None:
        state = state.clamp(-self.lstm["proj_clip"], self.lstm["proj_clip"])
      outputs.append(state)
    return torch.stack(outputs)
