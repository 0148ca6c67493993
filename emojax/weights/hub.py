"""Checkpoints by name: a local folder, or a repository of the Hugging Face hub.

Files lie in the cache of `huggingface_hub`, which other programs share; its
environment variables hold here too (HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE,
HF_TOKEN).
"""

import logging
import os
import pathlib
import re
from collections.abc import Sequence

import huggingface_hub
from huggingface_hub import constants, errors, utils

from emojax.errors import UserError

_LOG = logging.getLogger(__name__)

_PYTORCH = "pytorch_model"
CONFIG_FILES = (
  "config.json",
  "preprocessor_config.json",
  "processor_config.json",
)
TOKENIZER_FILES = (
  *("tokenizer*", "special_tokens_map.json", "added_tokens.json"),
  *("vocab*", "merges*"),
)
MODEL_FILES = (
  *(*CONFIG_FILES, *TOKENIZER_FILES),
  *("model.safetensors", "model.safetensors.index.json"),
  "model-*-of-*.safetensors",
  *(f"{_PYTORCH}.bin", f"{_PYTORCH}.bin.index.json", f"{_PYTORCH}-*-of-*.bin"),
)


def folder(
  name: str, revision: str | None = None, patterns: Sequence[str] = MODEL_FILES
) -> pathlib.Path:
  """Gives the folder of a checkpoint, downloading what is not there yet.

  Without a network, or with HF_HUB_OFFLINE, what the cache holds of the
  revision is taken. Files whose names start with `pytorch_model` are fetched
  only where there are no safetensors. After an interruption, whole files stay.

  A local folder is returned as it is. `revision` is a branch, tag or commit
  hash, None the main branch; `patterns` are of the files to fetch.

  Raises:
    UserError: neither a folder nor an id; no such repository or revision, no
      access to it; the download stopped, or the cache lacks some of it.
  """
  path = pathlib.Path(name).expanduser()
  if name and path.is_dir():
    return path
  _check_id(name)
  online = _is_reachable(name, revision)
  other = [pattern for pattern in patterns if pattern.startswith(_PYTORCH)]
  first = [pattern for pattern in patterns if pattern not in other]
  found = _fetch(name, revision, first, online)
  if other and not any(found.glob("model*.safetensors")):
    _fetch(name, revision_of(found), other, online)
  if not any(any(found.glob(pattern)) for pattern in patterns):
    raise UserError(
      f"{name}: holds none of {', '.join(patterns)}; take the id of a model in "
      "the layout of transformers"
    )
  return found


def require_token(name: str) -> None:
  """Raises a UserError where nobody could upload to a repository."""
  if name.count("/") != 1:
    raise UserError(f"{name!r}: no hub id of your own, which is like user/name")
  _check_id(name)
  if not huggingface_hub.get_token():
    raise UserError(
      f"{name}: the hub takes nothing without a token; run `hf auth login`, or "
      "set HF_TOKEN to one that may write"
    )


def upload(folder: str | os.PathLike, name: str, private: bool) -> str:
  """Uploads a folder's files in one commit, and gives the address of it.

  The repository is made if there is none; `private` is of a new one.

  Raises:
    UserError: the hub refuses, or the connection is lost; nothing is there of
      the commit then.
  """
  api = huggingface_hub.HfApi()
  try:
    api.create_repo(name, private=private, exist_ok=True)
    commit = api.upload_folder(
      repo_id=name, folder_path=folder, commit_message="Upload from emojax"
    )
  except (errors.HTTPError, OSError) as error:
    _raise_if_refused(name, None, error)
    raise UserError(
      f"{name}: the upload stopped ({_first_line(error)}); run the same "
      "command again"
    ) from error
  return commit.commit_url


def revision_of(folder: pathlib.Path) -> str:
  """Gives the commit hash of a folder in the cache, '' for any other folder."""
  found = re.fullmatch("snapshots/([0-9a-f]{40})", "/".join(folder.parts[-2:]))
  return found[1] if found else ""


def _check_id(name: str) -> None:
  """Tells a mistyped path from an id before the hub is asked for it."""
  is_file = bool(name) and pathlib.Path(name).expanduser().exists()
  separators = name.count("/") + name.count("\\")
  if is_file:
    raise UserError(
      f"{name!r}: a file; expected the folder of a checkpoint, here "
      f"{str(pathlib.Path(name).expanduser().parent)!r}, or a hub id"
    )
  if separators > 1 or not name or name[0] in "./~\\":
    raise UserError(
      f"{name!r}: no such folder; expected the folder of a checkpoint, or a "
      "hub id such as microsoft/wavlm-base"
    )
  try:
    utils.validate_repo_id(name)
  except errors.HFValidationError as error:
    raise UserError(
      f"{name!r}: neither a folder nor a hub id, which is like "
      "microsoft/wavlm-base"
    ) from error


def _is_reachable(name: str, revision: str | None) -> bool:
  """Whether the hub answers for this revision; says so where it does not."""
  try:
    huggingface_hub.HfApi().model_info(name, revision=revision)
    return True
  except errors.OfflineModeIsEnabled:
    reason = "HF_HUB_OFFLINE is set"
  except errors.HTTPError as error:
    _raise_if_refused(name, revision, error)
    reason = f"no answer from the hub ({_first_line(error)})"
  except OSError as error:  # Of the folder with the user's token.
    raise _stopped(name, error) from error
  _LOG.warning("%s: %s; taking what the cache holds", name, reason)
  return False


def _fetch(
  name: str, revision: str | None, patterns: Sequence[str], online: bool
) -> pathlib.Path:
  """Completes the snapshot of a revision, or finds it in the cache."""
  try:
    path = huggingface_hub.snapshot_download(
      name,
      revision=revision,
      allow_patterns=list(patterns),
      local_files_only=not online,
    )
  except errors.LocalEntryNotFoundError as error:
    raise UserError(
      f"{name}: no answer from the hub, and no whole copy of revision "
      f"{revision or 'main'} in the cache {constants.HF_HUB_CACHE}; run the "
      "same command again with a connection, which goes on with the files that "
      "are missing, or give a local folder"
    ) from error
  except (errors.HTTPError, OSError) as error:
    _raise_if_refused(name, revision, error)
    raise _stopped(name, error) from error
  return pathlib.Path(path)


def _raise_if_refused(name: str, revision: str | None, error: Exception):
  """Translates the answers that another try does not change."""
  match error:
    # A gated repository is a kind of a repository that is not found.
    case errors.GatedRepoError():
      reason = (
        "its owner has to grant access; ask for it on the page of the model, "
        "then run `hf auth login`"
      )
    case errors.RevisionNotFoundError():
      reason = (
        f"no revision {revision!r}; give a branch, a tag or a commit hash"
      )
    case errors.RepositoryNotFoundError():
      reason = (
        "neither a folder here nor a repository of the hub; look for a typing "
        "error, or run `hf auth login` if it is a private one"
      )
    case errors.HfHubHTTPError() if error.response.status_code in (401, 403):
      reason = (
        f"the hub refuses access ({_first_line(error)}); set HF_TOKEN or run "
        "`hf auth login` anew"
      )
    case _:
      return
  raise UserError(f"{name}: {reason}") from error


def _stopped(name: str, error: Exception) -> UserError:
  """The disk's own errors name a file; the mend of those is another place."""
  if getattr(error, "filename", None) is not None:
    mend = (
      f"its cache {constants.HF_HUB_CACHE} can not be written: set HF_HOME to "
      "a folder that can and has room"
    )
  else:
    mend = "run the same command again, which goes on with the missing files"
  return UserError(
    f"{name}: the download stopped ({_first_line(error)}); {mend}, or give a "
    "local folder"
  )


def _first_line(error: Exception) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0]
