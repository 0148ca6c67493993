"""What a user can get wrong ends with one line that says how to mend it."""

import logging

import jax
import numpy as np
import pytest
from PIL import Image

from configs import rlps as rlps_config
from emojax.corpora.faces import ferplus
from emojax.data import faces
from emojax.errors import UserError
from emojax.trainers import rlps, rlps_checks
from emojax.trainers.rlps import train

VARIANTS = ("demo", "ferplus", "fer2013", "rafdb", "expw")
VARIANTS += ("noise_rafdb", "noise_expw", "speech")
SPEECH = {"model.classifier": "log_mel", "data.noise": ("none",)}


def save(path, size=(48, 48), seed=0):
  """A grey image of noise; its size is height and width."""
  path.parent.mkdir(parents=True, exist_ok=True)
  pixels = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
  Image.fromarray(pixels).save(path)


def refused(config, tmp_path, reason):
  with pytest.raises(UserError, match=reason) as error:
    train(config, tmp_path / "run")
  assert "\n" not in str(error.value)
  assert not (tmp_path / "run").exists()


def make_config(folder, **changes):
  config = rlps_config.get_config()
  config.data.corpus, config.data.path = "image_folder", str(folder)
  config.data.labels = "happy,sad"
  with config.unlocked():
    config.update_from_flattened_dict(changes)
  return config


@pytest.fixture
def folder(tmp_path, cache):
  """Four images of each part."""
  for number, part in enumerate(("train", "validation", "test")):
    for label in ("happy", "sad"):
      for index in range(2):
        path = tmp_path / "faces" / part / label / f"{index}.png"
        save(path, seed=10 * number + index + 5 * (label == "sad"))
  return tmp_path / "faces"


def test_rlps_s_needs_two_validation_examples(folder, tmp_path):
  for path in sorted((folder / "validation").rglob("*.png"))[1:]:
    path.unlink()
  systems = ("none", "rlps_s")
  refused(
    make_config(folder, systems=systems), tmp_path, "rlps_s .*has one example"
  )


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_in_order(variant):
  config = rlps_config.get_config(variant)
  rlps_checks.check(config, rlps.SYSTEMS, rlps.RIVALS)
  for rows in config.published.values():
    classes = config.data.labels.split(",")
    for name, row in rows.items():
      assert name in rlps.SYSTEMS
      assert set(row.get("class_recall", classes)) == set(classes)


def test_an_unknown_variant_names_the_known_ones():
  with pytest.raises(ValueError, match="no config 'raf': demo, fer2013, "):
    rlps_config.get_config("raf")


@pytest.mark.parametrize(
  ("changes", "reason"),
  [
    ({"data.noise": ("blur",)}, "no blur; there are none, intercepted"),
    ({"data.noise": ()}, "name one at least"),
    ({"systems": ()}, "name one at least"),
    ({"systems": ("none", "mentor")}, "no mentor; there are none, sigmoid"),
    ({"systems": ("rlps", "rlps")}, "name each once"),
    ({"systems": ("none", "random")}, "name rlps before it"),
    ({"systems": ("small_loss", "rlps")}, "name rlps before it"),
    ({"model.widths": (8, 8, 8)}, "DCNN has six convolutions"),
    ({"model.widths": (8, 8, 8, 8, 8, 0)}, "model.widths .*above 0"),
    ({"model.crop": 49}, "model.crop = 49: .* no larger than the image"),
    ({"model.crop": 12}, "dcnn takes 16 pixels or more"),
    ({"data.image_size": (15, 48)}, "dcnn takes 16 pixels or more"),
    (
      {"model.classifier": "vgg19", "data.image_size": (31, 31)},
      "vgg19 takes 32 pixels or more",
    ),
    ({"data.image_size": (48,)}, "give height, width"),
    ({"data.channels": 2}, "channels = 2: there are 1, 3"),
    ({"model.classifier": "resnet"}, "there are dcnn, vgg19, cnn, log_mel"),
    ({"data.half_faces": 0.7, "data.no_faces": 0.5}, "more than all faces"),
    ({"data.label_noise_rate": 1.0}, "at least 0 and below 1"),
    ({"retention_floor": 1.0}, "retention_floor = 1.0: .*below 1"),
    ({"num_replicates": 0}, "num_replicates = 0"),
    ({"policy.learning_rate": -1.0}, "policy.learning_rate"),
    ({"policy.removed_credit": 2.0}, "removed_credit = 2.0: .* from -1 to 1"),
    ({"seed": 2**32}, r"has to be in 0 to 2\^32 - 1"),
    ({"dtype": "float16"}, "there are float32, bfloat16"),
    (
      {"model.classifier": "log_mel", "data.noise": ("intercepted",)},
      "intercepted noise is of images",
    ),
    ({"split.method": "k_fold"}, "'k_fold': corpora of faces .* to official"),
    ({"split.method": "offical"}, "'offical': .* set it to official"),
    (
      {"split.test_speakers": "anna"},
      "test_speakers = 'anna' goes with .* not with 'official'",
    ),
    ({"split.folds": "folds.csv"}, "set the field empty"),
    (
      SPEECH | {"split.method": "shuffle", "split.folds": "folds.csv"},
      "set the field empty",
    ),
    (SPEECH | {"model.crop": 40}, "model.crop = 40: clips have no squares"),
    (
      SPEECH | {"split.method": "k_folds"},
      "split.method = 'k_folds': there are shuffle, speakers, k_fold",
    ),
    (
      SPEECH | {"split.method": "leave_one_out", "split.group": "speakers"},
      "split.group = 'speakers': there are speaker, session, corpus",
    ),
    ({"data.corpus": "faces"}, "no such corpus.*ferplus"),
    ({"data.labels": "happy"}, "name at least two"),
    ({"data.labels": "happy,glad"}, "unknown label 'glad'"),
  ],
)
def test_bad_config(folder, tmp_path, changes, reason):
  refused(make_config(folder, **changes), tmp_path, reason)


def test_a_batch_is_cut_over_the_devices(tmp_path, monkeypatch):
  monkeypatch.setattr(jax, "device_count", lambda: 3)
  config = make_config(tmp_path, batch_size=32)
  refused(config, tmp_path, "batch_size = 32: .* multiple of the 3 devices")


@pytest.mark.parametrize(
  ("variant", "files", "source"),
  [
    ("fer2013", "fer2013.csv", "kaggle"),
    ("ferplus", "fer2013new.csv", "microsoft"),
    ("rafdb", "list_patition_label.txt", "whdeng"),
    ("noise_rafdb", "list_patition_label.txt", "whdeng"),
    ("expw", "label.lst", "mmlab"),
    ("noise_expw", "label.lst", "mmlab"),
  ],
)
def test_a_missing_corpus(tmp_path, cache, variant, files, source):
  config = rlps_config.get_config(variant)
  refused(config, tmp_path, rf"path is not set.*{files}.*{source}")
  config.data.path = str(tmp_path / "none")
  refused(config, tmp_path, rf"/none: no such file.*{files}.*{source}")


def test_unreadable_images(folder, tmp_path, caplog):
  (folder / "train" / "happy" / "0.png").write_bytes(b"no image")
  refused(
    make_config(folder, **{"data.max_skipped": 0}),
    tmp_path,
    r"1 of 12 images .*max_skipped = 0; .*happy/0\.png: not an image",
  )
  data = faces.read(make_config(folder).data)
  assert "happy/0.png" in caplog.text
  assert data.parts["train"].label_N.tolist() == [0, 1, 1]
  assert len(data.name_N) == len(data.train.inputs()) == 3


def test_a_part_without_faces_of_the_study(folder, tmp_path):
  config = make_config(folder, **{"data.labels": "angry,calm"})
  refused(config, tmp_path, "no face of a class of the study.*happy, sad")


def test_a_class_that_can_not_be_confused(folder, tmp_path):
  config = make_config(folder, **{"data.noise": ("class_dependent",)})
  refused(config, tmp_path, "happy is confused with .*use symmetric noise")


HEADER = f"Usage,Image name,{','.join(ferplus.VOTES)}"


@pytest.fixture
def voted(tmp_path, cache):
  """FERPlus with five images a part, two without a majority of votes."""
  rows, root = [HEADER], tmp_path / "ferplus"
  votes = {
    "happy": "0,9,0,0,0,0,1,0,0,0",
    "doubtful": "3,7,0,0,0,0,0,0,0,0",
    "sad": "0,0,0,10,0,0,0,0,0,0",
    "nobody": "0,5,0,5,0,0,0,0,0,0",
    "unknown": "0,0,0,0,0,0,0,0,10,0",
  }
  for usage, part in (
    ("Training", "FER2013Train"),
    ("PublicTest", "FER2013Valid"),
    ("PrivateTest", "FER2013Test"),
  ):
    for number, (name, counts) in enumerate(votes.items()):
      save(root / part / f"{usage}{name}.png", seed=number)
      rows.append(f"{usage},{usage}{name}.png,{counts}")
  (root / "fer2013new.csv").write_text("\n".join(rows) + "\n")
  return root


def test_images_without_a_majority_are_left_out(voted, caplog):
  config = make_config(
    voted, **{"data.corpus": "ferplus", "data.noise": ("none",)}
  )
  with caplog.at_level(logging.INFO):
    data = faces.read(config.data)
  assert "train: faces: of 5 left out: 2 without a label" in caplog.text
  names = ["Traininghappy", "Trainingdoubtful", "Trainingsad"]
  assert data.name_N.tolist() == names
  # The votes say of which images one can not be sure.
  assert data.kinds == ("agreed", "contested")
  assert data.noisy_N.tolist() == [False, True, False]


def test_images_of_another_size(voted, tmp_path):
  save(voted / "FER2013Train" / "Trainingsad.png", (47, 48))
  config = make_config(
    voted, **{"data.corpus": "ferplus", "data.max_skipped": 0}
  )
  refused(config, tmp_path, "47x48 pixels where the corpus has 48x48")


def test_boxes_outside_the_image(tmp_path, cache):
  root = tmp_path / "data"
  save(root / "image" / "origin" / "a.png", (60, 60))
  lines = [f"a.png {i} 5 5 55 55 30.0 {3 + i % 2}" for i in range(20)]
  lines[7] = "a.png 7 70 5 90 55 30.0 3"
  (root / "label").mkdir()
  (root / "label" / "label.lst").write_text("\n".join(lines) + "\n")
  config = make_config(tmp_path, **{"data.corpus": "expw"})
  config.data.max_skipped = 0
  refused(config, tmp_path, "1 of 20 images .*nothing in the box .* 60 wide")
  config.data.max_skipped = 1
  data = faces.read(config.data)
  assert sum(len(part.label_N) for part in data.parts.values()) == 19
