"""A hub id -> a local folder: configs first, to refuse what we cannot drive before gigabytes are fetched."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("DIFFUSERS_DISABLE_REMOTE_CODE", "1")  # read when diffusers is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported

from scumble.core.errors import InputError
from scumble.priors._folder import PARTS, STEMS, Folder

CONFIGS = ["*.json", "tokenizer/*"]


def fetch(model: str, *, revision: str | None = None, offline: bool = False) -> Folder:
    """The checkpoint `model` ("owner/name") of the hub, downloaded unless it is in the cache already.

    Only JSON, tokenizer files and safetensors are fetched: plain weights, or half-precision ones where a
    checkpoint has no others.

    Raises:
        InputError: not a checkpoint that we can drive, not found, no access, or not cached while offline.
    """
    folder = Folder(_snapshot(model, CONFIGS, revision, offline), model, model)
    parts = PARTS[folder.family()]
    for variant in ("", ".fp16"):
        names = [f"{part}/{STEMS[part]}{variant}{shards}" for part in parts for shards in ("", "-*-of-*")]
        patterns = CONFIGS + [f"{name}.safetensors" for name in names]
        folder = Folder(_snapshot(model, patterns, revision, offline), model, model)
        if all(any((folder.path / part).glob("*.safetensors")) for part in parts):
            break
    return folder


def _snapshot(model: str, patterns: list[str], revision: str | None, offline: bool) -> Path:
    from huggingface_hub import errors, snapshot_download

    try:
        path = snapshot_download(model, revision=revision, allow_patterns=patterns, local_files_only=offline)
    except errors.IncompleteSnapshotError as error:  # offline: what is there decides, judged by Folder.check
        path = error.snapshot_path
    except errors.HFValidationError as error:
        raise InputError(f"model '{model}' is not an id of the model hub: {error}") from error
    except errors.GatedRepoError as error:
        remedy = "accept its terms on the hub and log in with `hf auth login`, or name a local folder"
        raise InputError(f"model '{model}': access to it is restricted; {remedy}.") from error
    except errors.RepositoryNotFoundError as error:
        remedy = "check the spelling, log in with `hf auth login` if it is private, or name a local folder"
        raise InputError(f"model '{model}': the hub has no such model; {remedy}.") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"model '{model}': the hub has no revision '{revision}' of it.") from error
    except errors.LocalEntryNotFoundError as error:
        remedy = "connect and allow downloads once, or name a local folder (./name)"
        raise InputError(
            f"model '{model}': it is not in the cache and the hub is not reached; {remedy}."
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"model '{model}': the hub did not deliver it ({reason}).") from error
    return Path(path)
