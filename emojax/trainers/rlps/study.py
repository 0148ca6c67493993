"""The RLPS study from config to summary: `train`."""

import functools
import os
import pathlib

import jax
import ml_collections

from emojax import checks, loop
from emojax.errors import UserError
from emojax.models.image_classifiers import Dcnn, Vgg19
from emojax.reports import selection_tables
from emojax.runtime import memory
from emojax.systems import speech
from emojax.systems.speech import SpeechSystem
from emojax.trainers.rlps import (
  classifiers,
  clips,
  evidence,
  faces,
  members,
  training,
)
from emojax.trainers.rlps.classifiers import Classifier
from emojax.trainers.rlps.fitting import Fitting
from emojax.trainers.rlps.members import Member
from emojax.trainers.rlps.strategies import SYSTEMS, System
from emojax.trainers.rlps.training import Cleaning

_NOISE = ("none", "intercepted", "symmetric", "class_dependent")
_LOG_MEL_CHANNELS = (128, 128, 128)
# The smallest images that their poolings leave a pixel of.
_MIN_SIZE = {"dcnn": 16, "vgg19": 32}


def train(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike
) -> dict:
  """Runs the whole study, or goes on with it, and returns its summary.

  Args:
    config: see `configs/rlps.py`.
    workdir: see `loop.run`; every initialisation has a folder of its own in it.

  Raises:
    UserError: something in the config, the data or the folder is wrong.
  """
  _check(config)
  workdir = pathlib.Path(workdir)
  summary = loop.finished(workdir, config)
  if summary is None:
    summary = _run(config, workdir)
  print(selection_tables.terminal_table(summary))
  return summary


def audit(config: ml_collections.ConfigDict) -> dict[str, str]:
  """Who is in which part, as Markdown tables.

  Raises:
    UserError: whatever is wrong with the data.
  """
  _check(config)
  return {
    material.setting: evidence.parts_table(material)
    for material in _materials(config)
  }


def _run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> dict:
  materials = list(_materials(config))
  for material in materials:
    print(f"{material.setting}\n{evidence.parts_table(material)}\n")
  loop.claim(workdir, config)
  outcomes = []
  for material in materials:
    classifier = _classifier(config, material.classes)
    fitting = Fitting(config, classifier, material)
    cleanings = {
      name: Cleaning(config, fitting, SYSTEMS[name]) for name in config.systems
    }
    for seed in range(config.num_replicates):
      outcomes += _train_replicate(
        *(config, classifier, fitting, cleanings, seed),
        workdir / "runs",
      )
  results = evidence.summarize(config, materials, outcomes)
  return loop.finish(workdir, results)


def _train_replicate(
  config,
  classifier: Classifier,
  fitting: Fitting,
  cleanings: dict[str, Cleaning],
  seed: int,
  root: pathlib.Path,
) -> list[members.Outcome]:
  """All systems, from one pretrained classifier."""
  key = jax.random.fold_in(jax.random.key(config.seed), seed)

  def member(system: str) -> Member:
    return Member(fitting.material.setting, system, seed, root)

  start = member("pretraining")
  study = training.pretraining(
    fitting, key, functools.partial(members.pretraining_results, start)
  )
  _train_member(config, study, start, config.pretraining_epochs)
  outcomes = {}
  for name, cleaning in cleanings.items():
    one = member(system_name(classifier, SYSTEMS[name]))
    study = cleaning.study(
      key,
      members.pretrained(start),
      outcomes["rlps"].counts if SYSTEMS[name].is_rival else None,
      functools.partial(members.results, one, fitting),
    )
    _train_member(config, study, one, config.num_epochs)
    outcomes[name] = members.read(one)
  return list(outcomes.values())


def _train_member(
  config, study: loop.Study, member: Member, num_epochs: int
) -> None:
  config = config.copy_and_resolve_references().unlock()
  config.member = {
    "setting": member.setting,
    "system": member.system,
    "seed": member.seed,
  }
  with memory.explained("config.batch_size, or config.data.image_size"):
    loop.run(
      study,
      config,
      member.folder,
      num_epochs,
      f"{member.setting}, seed {member.seed}, {member.system}",
    )


def system_name(classifier: Classifier, system: System) -> str:
  """How a system is called in tables, such as DCNN+RLPS."""
  return "+".join(filter(None, (classifier.name, system.name)))


def _materials(config: ml_collections.ConfigDict):
  return clips.read(config) if _is_speech(config) else faces.read(config)


def _is_speech(config: ml_collections.ConfigDict) -> bool:
  return config.model.classifier == "log_mel"


def _classifier(
  config: ml_collections.ConfigDict, classes: tuple[str, ...]
) -> Classifier:
  model = config.model
  if _is_speech(config):
    system = SpeechSystem(
      encoder=speech.log_mel_encoder(_LOG_MEL_CHANNELS),
      classes=classes,
      sample_rate=clips.SAMPLE_RATE,
      normalise=True,
      window_seconds=config.data.max_seconds,
      pooling="attention",
      weigh_layers=False,
      hidden=model.hidden,
      dropout=model.dropout,
      dtype=config.dtype,
    )
    return classifiers.of_speech("log-mel CNN", system)
  dtype = speech.DTYPES[config.dtype]
  if model.classifier == "vgg19":
    network = Vgg19(len(classes), model.dropout, dtype)
    return classifiers.of_images("VGG19", network, model.crop)
  network = Dcnn(len(classes), tuple(model.widths), model.hidden, dtype)
  return classifiers.of_images("DCNN", network, model.crop)


def _check(config: ml_collections.ConfigDict) -> None:
  """Values that would otherwise fail late, or not at all."""
  checks.positive(config, "num_replicates", "pretraining_epochs", "num_epochs")
  checks.positive(config, "batch_size", "checkpoint_every", "model.hidden")
  checks.positive(config, "model.widths", "policy.widths", "policy.batch_size")
  checks.positive(config, "optimizer.learning_rate", "policy.learning_rate")
  checks.positive(config, "optimizer.decay_every", "data.image_size")
  checks.positive(config, "data.max_seconds", "optimizer.decay_rate")
  checks.not_negative(config, "optimizer.weight_decay", "optimizer.clip_value")
  checks.not_negative(config, "optimizer.decay_start", "data.max_skipped")
  checks.not_negative(config, "policy.pretraining_epochs", "model.crop", "seed")
  checks.fraction(config, "optimizer.momentum", "model.dropout")
  checks.fraction(config, "data.half_faces", "data.no_faces")
  checks.fraction(config, "data.label_noise_rate", "retention_floor")
  checks.choice(config, "model.classifier", ("dcnn", "vgg19", "log_mel"))
  checks.choice(config, "dtype", tuple(speech.DTYPES))
  checks.choices(config, "systems", tuple(SYSTEMS))
  checks.choices(config, "data.noise", _NOISE)
  if not -1 <= config.policy.removed_credit <= 1:
    raise UserError(
      f"config.policy.removed_credit = {config.policy.removed_credit}: has to "
      "be from -1 to 1"
    )
  if not config.systems or not config.data.noise:
    raise UserError("config.systems and config.data.noise: name one at least")
  if config.data.channels not in (1, 3):
    raise UserError(
      f"config.data.channels = {config.data.channels}: 1 is grey, 3 is RGB"
    )
  if len(config.data.image_size) != 2:
    raise UserError(
      f"config.data.image_size = {config.data.image_size}: give height, width"
    )
  if config.seed >= 2**32:
    raise UserError(f"config.seed = {config.seed}: has to be below 2^32")
  rivals = [n for n in config.systems if SYSTEMS[n].is_rival]
  place = {name: index for index, name in enumerate(config.systems)}
  if any(place.get("rlps", len(place)) > place[name] for name in rivals):
    raise UserError(
      f"config.systems = {config.systems}: {rivals[0]} removes as many as rlps "
      "does; name rlps before it"
    )
  if len(config.model.widths) != 6:
    raise UserError(
      f"config.model.widths = {config.model.widths}: DCNN has six convolutions"
    )
  if config.data.half_faces + config.data.no_faces > 1:
    raise UserError(
      "config.data.half_faces + config.data.no_faces: more than all faces"
    )
  if config.batch_size % jax.device_count():
    raise UserError(
      f"config.batch_size = {config.batch_size}: has to be a multiple of the "
      f"{jax.device_count()} devices, over which a batch is cut"
    )
  if _is_speech(config):
    if "intercepted" in config.data.noise:
      raise UserError("config.data.noise: intercepted noise is of images")
    return
  size = min(config.data.image_size)
  crop, least = config.model.crop, _MIN_SIZE[config.model.classifier]
  if crop > size or (crop or size) < least:
    raise UserError(
      f"config.data.image_size = {config.data.image_size}, config.model.crop = "
      f"{crop}: {config.model.classifier} takes {least} pixels or more, and a "
      "crop is no larger than the image"
    )
