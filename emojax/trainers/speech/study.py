"""The speech study from config to summary: `train`."""

import functools
import os
import pathlib

import jax
import ml_collections
import numpy as np

from emojax import checks, loop
from emojax.audio import backgrounds
from emojax.audio.settings import Settings
from emojax.data import clips, partitions
from emojax.data.clips import Material
from emojax.errors import UserError
from emojax.models.pooling import POOLINGS
from emojax.reports import animation
from emojax.reports import tables as report_tables
from emojax.runtime import memory
from emojax.systems import speech
from emojax.trainers.speech import build, evidence, optimizers, parts
from emojax.trainers.speech.evidence import Member
from emojax.trainers.speech.parts import Resources
from emojax.trainers.speech.training import Training
from emojax.weights import hub


def train(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike
) -> dict:
  """Runs the whole study, or goes on with it, and returns its summary.

  Args:
    config: see `configs/speech.py`.
    workdir: see `loop.run`; every initialisation has a folder of its own in it.

  Raises:
    UserError: something in the config, the data or the folder is wrong.
  """
  _check(config)
  workdir = pathlib.Path(workdir)
  config = loop.settle(
    workdir, config, "model.revision", lambda: _commit(config.model.encoder)
  )
  summary = loop.finished(workdir, config)
  if summary is None:
    summary = _run(config, workdir)
  print(report_tables.terminal_table(summary))
  return summary


def audit(config: ml_collections.ConfigDict) -> dict[str, str]:
  """Who is in which part of each split, as Markdown tables; all are checked.

  Raises:
    UserError: a speaker or an identical recording is in two parts, or whatever
      else is wrong with the data.
  """
  _check(config)
  return clips.read(config)[1]


def _run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> dict:
  material, tables = clips.read(config)
  for setting, table in tables.items():
    print(f"{setting}\n{table}\n")
  resources = _resources(config)
  blueprints = [
    build.blueprint(config, encoder, material.classes)
    for encoder in dict.fromkeys((config.model.encoder, *config.baselines))
  ]
  for blueprint in blueprints:
    parts.check_lengths(blueprint.system, material)
  loop.claim(workdir, config)
  members = []
  for setting, split in material.splits.items():
    for blueprint in blueprints:
      training = functools.cache(
        functools.partial(
          Training, config, blueprint, material, split, resources
        )
      )
      for seed in range(config.num_replicates):
        member = Member(setting, blueprint, seed, workdir / "runs")
        _train_member(config, training, member, material)
        members.append(member)
  results = evidence.summarize(config, material, members)
  return loop.finish(workdir, results)


def _train_member(config, training, member: Member, material: Material) -> None:
  """Trains one initialisation, unless its folder holds it already."""
  config = config.copy_and_resolve_references().unlock()
  config.member = {
    "setting": member.setting,
    "system": member.blueprint.name,
    "seed": member.seed,
  }
  if loop.finished(member.folder, config) is not None:
    return
  with memory.explained(
    "config.batch_size, or the last of config.data.buckets; "
    "config.model.remat=True and config.dtype=bfloat16 help as well"
  ):
    loop.run(
      training().study(
        member.seed,
        functools.partial(evidence.member_results, member),
        functools.partial(_pictures, material.classes),
      ),
      config,
      member.folder,
      training().num_rounds,
      f"{member.blueprint.name}, {member.setting}, seed {member.seed}",
      build.round_name(config),
    )


def _pictures(classes, record) -> dict[str, np.ndarray]:
  name = "validation_confusion_matrix"
  return {name: animation.confusion_image(record[name], classes)}


def _resources(config: ml_collections.ConfigDict) -> Resources:
  """Reads what training clips are augmented with.

  Raises:
    UserError: a field of `config.augment` makes no sense, or a folder has no
      audio.
  """
  fields = config.augment.to_dict()
  background_path = fields.pop("background_path")
  responses_path = fields.pop("responses_path")
  for name in ("feature_time_share", "feature_channel_share"):
    del fields[name]  # Of the encoder.
  settings = Settings.read(fields)
  if not any(v for k, v in fields.items() if k.endswith("_probability")):
    return Resources(None, None, None)
  noise, responses = None, None
  if settings.background_probability and not background_path:
    raise UserError(
      "config.augment.background_path is not set: name a folder of recordings "
      "such as MUSAN's, or set config.augment.background_probability=0"
    )
  if settings.background_probability:
    noise = backgrounds.Backgrounds(background_path)
  if settings.reverberation_probability and responses_path:
    responses = backgrounds.load_responses(
      responses_path, build.SAMPLE_RATE, build.SAMPLE_RATE
    )
  return Resources(settings, noise, responses)


def _commit(encoder: str) -> str:
  """The encoder's commit as of today; '' where no hub is involved."""
  if encoder in (build.SMALL, build.LOG_MEL):
    return ""
  return hub.revision_of(hub.folder(encoder))


def _check(config: ml_collections.ConfigDict) -> None:
  """Values that would otherwise fail late, or not at all."""
  checks.positive(config, "num_replicates", "num_epochs", "batch_size")
  checks.positive(config, "checkpoint_every", "model.hidden", "data.buckets")
  checks.positive(config, "optimizer.learning_rate", "optimizer.accumulate")
  checks.not_negative(config, "optimizer.encoder_learning_rate", "mixup")
  checks.not_negative(config, "optimizer.weight_decay", "optimizer.clip_norm")
  checks.not_negative(config, "steps_per_round", "unfreeze_last_n_layers")
  checks.not_negative(config, "adversary.reversal", "data.max_skipped")
  checks.not_negative(config, "data.num_workers", "seed", "split.seed")
  checks.fraction(config, "model.dropout", "label_smoothing")
  checks.fraction(
    config, "augment.feature_time_share", "augment.feature_channel_share"
  )
  checks.choice(config, "model.pooling", tuple(POOLINGS))
  checks.choice(config, "dtype", tuple(speech.DTYPES))
  checks.choice(config, "optimizer.schedule", optimizers.SCHEDULES)
  checks.choice(config, "split.method", partitions.METHODS)
  checks.choice(config, "split.group", partitions.GROUPS)
  checks.choice(config, "adversary.domain", ("none", "speaker", "corpus"))
  if config.baselines:
    checks.choices(config, "baselines", (build.LOG_MEL,))
  if config.seed >= 2**32 or config.split.seed >= 2**32:
    raise UserError("config.seed, config.split.seed: have to be below 2^32")
  if list(config.data.buckets) != sorted(set(config.data.buckets)):
    raise UserError(
      f"config.data.buckets = {config.data.buckets}: name lengths in seconds, "
      "each longer than the one before"
    )
  if config.batch_size % jax.device_count():
    raise UserError(
      f"config.batch_size = {config.batch_size}: has to be a multiple of the "
      f"{jax.device_count()} devices, over which a batch is cut"
    )
  is_frozen = config.freeze_encoder and not config.unfreeze_last_n_layers
  if config.unfreeze_last_n_layers and not config.freeze_encoder:
    raise UserError(
      "config.unfreeze_last_n_layers: the whole encoder is trained; set "
      "config.freeze_encoder=True to train its last layers only"
    )
  if config.model.encoder == build.LOG_MEL and build.masks_features(config):
    raise UserError(
      "config.augment.feature_time_share, feature_channel_share: a log-mel CNN "
      "has no such features; see time_mask_probability"
    )
  if config.adversary.domain != "none" and is_frozen:
    raise UserError(
      "config.adversary.domain: the encoder is frozen, so the adversary's "
      "gradient could not reach it; set config.freeze_encoder=False, or "
      "config.unfreeze_last_n_layers"
    )
  if not config.optimizer.encoder_learning_rate and not is_frozen:
    raise UserError(
      "config.optimizer.encoder_learning_rate = 0: the encoder would not be "
      "trained; set config.freeze_encoder=True"
    )
