"""The DANN of Lian et al. in PyTorch, written for speed: the other side.

Features are projected for real utterances only, the bi-GRU runs on packed
sequences, attention is `scaled_dot_product_attention`, Adam is the fused one.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import rnn


class _Reversal(torch.autograd.Function):
  @staticmethod
  def forward(ctx, x, scale):
    ctx.scale = scale
    return x.view_as(x)

  @staticmethod
  def backward(ctx, grad):
    return -ctx.scale * grad, None


class Dann(nn.Module):
  """The network; a batch is its utterances [N, D] and the lengths."""

  def __init__(self, audio, text, num_emotions, num_speakers, hidden=100):
    super().__init__()
    self.audio = nn.Linear(audio, hidden)
    self.text = nn.Linear(text, hidden)
    self.attention = nn.Linear(hidden, hidden, bias=False)
    self.score = nn.Linear(hidden, 1, bias=False)
    self.gru = nn.GRU(hidden, hidden // 2, bidirectional=True, batch_first=True)
    self.qkv = nn.Linear(hidden, 3 * hidden, bias=False)
    self.emotion = nn.Linear(hidden, num_emotions)
    self.domain = nn.Sequential(
      nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, num_speakers)
    )

  def forward(self, audio, text, lengths, reversal=1.0, heads=4):
    """Emotion and domain logits of the utterances, in order."""
    projections = torch.stack([self.audio(audio), self.text(text)], 1)
    alpha = torch.softmax(
      self.score(torch.tanh(self.attention(projections))), 1
    )
    fused = (alpha * projections).sum(1)

    padded = rnn.pad_sequence(fused.split(lengths.tolist()), batch_first=True)
    states, _ = self.gru(
      rnn.pack_padded_sequence(
        padded, lengths, batch_first=True, enforce_sorted=False
      )
    )
    states, _ = rnn.pad_packed_sequence(states, batch_first=True)

    query, key, value = (
      self.qkv(states).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    )
    real = torch.arange(states.shape[1])[None] < lengths[:, None]
    attended = functional.scaled_dot_product_attention(
      query, key, value, attn_mask=real[:, None, None], scale=1.0
    )
    representation = attended.transpose(1, 2).flatten(2)[real]
    return self.emotion(representation), self.domain(
      _Reversal.apply(representation, reversal)
    )

  def load_flax(self, params):
    """Takes the parameters of `emojax.models.dann.Dann`, one run."""
    fusion, context = params["fusion"], params["context"]
    gru = context["gru"]
    with torch.no_grad():
      for layer, tree in (
        (self.emotion, params["emotion_classifier"]["output"]),
        (self.domain[0], params["domain_classifier"]["hidden_layer"]),
        (self.domain[2], params["domain_classifier"]["output"]),
      ):
        _copy(layer.weight, tree["kernel"].T)
        if "bias" in tree:
          _copy(layer.bias, tree["bias"])
      _copy(self.attention.weight, fusion["attention"]["kernel"])
      _copy(self.score.weight, fusion["attention"]["score"][None])
      for name in ("audio", "text"):
        _copy(getattr(self, name).weight, fusion[name]["kernel"])
        _copy(getattr(self, name).bias, fusion[name]["bias"])
      for direction, suffix in enumerate(("l0", "l0_reverse")):
        for name, value in (
          ("weight_ih", gru["input_kernel"][:, direction].T),
          ("weight_hh", gru["recurrent_kernel"][direction].T),
          ("bias_ih", gru["input_bias"][direction]),
          ("bias_hh", gru["recurrent_bias"][direction]),
        ):
          _copy(getattr(self.gru, f"{name}_{suffix}"), value)
      kernel = context["attention"]["kernel"]
      _copy(self.qkv.weight, kernel.reshape(len(kernel), -1).T)


class Training:
  """One run: a step is the gradient of Eq. (5) and Adam with L2."""

  def __init__(self, params, features, emotion, speaker, sizes):
    """Copies the parameters of one emojax run.

    Args:
      params: NumPy tree of one run.
      features: normalised NumPy [U, D] of `audio` and `text`.
      emotion: [U], -1 where unlabelled.
      speaker: [U].
      sizes: numbers of emotions and of speakers.
    """
    self._audio, self._text = (
      torch.from_numpy(features[name]) for name in ("audio", "text")
    )
    self._emotion = torch.from_numpy(np.asarray(emotion, np.int64))
    self._speaker = torch.from_numpy(np.asarray(speaker, np.int64))
    self._model = Dann(self._audio.shape[1], self._text.shape[1], *sizes)
    self._model.load_flax(params)
    self._optimizer = torch.optim.Adam(
      self._model.parameters(), 1e-4, weight_decay=1e-5, fused=True
    )

  def step(self, utterances, lengths):
    """One step; returns both losses as tensors."""
    index = torch.from_numpy(utterances)
    emotion_logits, domain_logits = self._model(
      self._audio[index], self._text[index], torch.from_numpy(lengths)
    )
    emotion_loss = functional.cross_entropy(
      emotion_logits, self._emotion[index], ignore_index=-1
    )
    domain_loss = functional.cross_entropy(domain_logits, self._speaker[index])
    self._optimizer.zero_grad()
    (emotion_loss + domain_loss).backward()
    self._optimizer.step()
    return emotion_loss.detach(), domain_loss.detach()


def _copy(parameter, value):
  parameter.copy_(torch.from_numpy(np.array(value)))
