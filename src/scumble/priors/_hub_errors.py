"""Errors of the model hub as one sentence each: what failed, why, what to do."""

from __future__ import annotations

import errno
import logging
from collections.abc import Generator
from contextlib import contextmanager
from difflib import get_close_matches

from scumble.core.errors import InputError, MachineError

KNOWN = ("stable-diffusion-v1-5/stable-diffusion-v1-5", "CompVis/stable-diffusion-v1-4")


@contextmanager
def hub_errors(model: str, revision: str | None = None, offline: bool = False) -> Generator[None]:
    """Raises InputError or MachineError for any error of the hub's client inside."""
    from huggingface_hub import errors

    client = logging.getLogger("huggingface_hub")  # it reports each attempt; what came of all is said once
    before = client.level
    client.setLevel(logging.ERROR)
    try:
        yield
    except (OSError, errors.HFValidationError, errors.HTTPError) as error:  # pyright: ignore[reportPrivateImportUsage]
        raise _translated(error, model, revision, offline) from error
    finally:
        client.setLevel(before)


def _translated(error: Exception, model: str, revision: str | None, offline: bool) -> Exception:
    from huggingface_hub import errors

    name = f"model '{model}'"
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if isinstance(error, errors.HFValidationError):
        return InputError(f"{name} is not an id of the model hub: {error}")
    if isinstance(error, errors.GatedRepoError):
        return InputError(
            f"{name}: access to it is restricted; accept its terms on its page of the hub "
            f"(https://huggingface.co/{model}) and log in with `hf auth login`, or name a local folder."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return InputError(f"{name}: the hub has no such model{_near(model)}")
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(f"{name}: the hub has no revision '{revision}' of it; leave --revision out.")
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return InputError(f"{name}: its repository has no such file; check the name behind the colon.")
    if status in (401, 403):
        return InputError(
            f"{name}: the hub refuses your login ({status}); log in again with `hf auth login`, with a token "
            "that may read this model."
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return MachineError(
            f"disk: it is full, while {name} was being downloaded; free some space and run it again."
        )
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        why = "you are offline (--offline or HF_HUB_OFFLINE)" if offline else "the hub is out of reach"
        return MachineError(
            f"{name}: it is not in the cache, and {why}; connect and run `scumble fetch {model}` once, or "
            "name a local folder (./name)."
        )
    return MachineError(
        f"{name}: the hub did not deliver it ({reason}); try again, behind a proxy with HTTPS_PROXY set."
    )


def _near(model: str) -> str:
    """Models of the hub with a similar name, and what else to try."""
    from huggingface_hub import HfApi

    last = model.rpartition("/")[2]
    try:
        found = [info.id for info in HfApi().list_models(search=last, limit=20)]
    except Exception:  # the names are a courtesy; without them the message stands
        found = []
    alike = [id for id in dict.fromkeys([*KNOWN, *found]) if id.rpartition("/")[2] == last]
    close = get_close_matches(model, [*KNOWN, *found], n=3)
    near = list(dict.fromkeys([*alike, *close]))[:3]
    hint = f"; near it: {', '.join(near)}." if near else "; check the spelling."
    return f"{hint} A private one needs `hf auth login`."
