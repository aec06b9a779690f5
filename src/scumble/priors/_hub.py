"""From a hub id to a local folder: configs first, so that unsupported models are refused before a large download."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("DIFFUSERS_DISABLE_REMOTE_CODE", "1")  # read when diffusers is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported

from scumble.core.errors import MachineError
from scumble.priors._families import FAMILIES
from scumble.priors._folder import CONVERT, PICKLES, Folder, stem
from scumble.priors._hub_errors import hub_errors

logger = logging.getLogger("scumble")

# All that says what a checkpoint is.
CONFIGS = [
    *("README.md", "model_index.json", "card.json", "scheduler/scheduler_config.json"),
    *sorted({f"{part}/*.json" for family in FAMILIES.values() for part in family.parts}),
    *sorted({f"{name}/*" for family in FAMILIES.values() for name in family.tokenizers}),
]
MARGIN = 1.05  # of the space on the disk over the size of the files


@dataclass(frozen=True)
class Download:
    """What is still to be downloaded of a checkpoint: the weight files by name, and their sizes in bytes."""

    model: str
    licence: str
    folder: Path
    wanted: Mapping[str, int]  # all that the checkpoint needs, in bytes
    missing: Mapping[str, int]  # missing files: name -> bytes

    def __str__(self) -> str:
        """ "2.1 GB of owner/name (licence: openrail) to /cache"."""
        size = sum(self.missing.values()) / 1e9
        return f"{size:.1f} GB of {self.model} (licence: {self.licence}) to {self.folder}"

    @property
    def shares(self) -> str:
        """ "transformer 23.8 GB in 3 files, vae 0.2 GB; 9.1 GB are there already", of what is missing."""
        parts: dict[str, list[int]] = {}
        for name, size in self.missing.items():
            parts.setdefault(name.partition("/")[0], []).append(size)
        listed = [
            f"{part} {said(sum(sizes))}{f' in {len(sizes)} files' if len(sizes) > 1 else ''}"
            for part, sizes in parts.items()
        ]
        there = sum(self.wanted.values()) - sum(self.missing.values())
        return ", ".join(listed) + (f"; {said(there)} are there already" if there else "")


def said(size: int) -> str:
    """Bytes as "2.1 GB", or "35 MB" below a tenth of one."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def fetch(
    model: str, *, revision: str | None = None, offline: bool = False, to: Path | None = None
) -> Folder:
    """Downloads the checkpoint `model` ("owner/name") of the hub into its cache or the folder `to`; existing files are
    kept.

    Of the weights, only safetensors of the parts in use are downloaded, in half precision if available. Before that, a
    log line gives size, licence and location.

    Raises:
        InputError: not a supported checkpoint, not found, or no access.
        MachineError: not cached while offline, no connection, or no space.
    """
    folder, download = survey(model, revision=revision, offline=offline, to=to)
    if download is None:
        return folder
    if download.missing:
        _check_space(download)
        logger.warning("downloading %s: %s", download, download.shares)
    patterns = [*CONFIGS, *download.wanted]
    return Folder(
        _snapshot(model, patterns, folder.revision or revision, to=to), model, model, folder.revision
    )


def survey(
    model: str, *, revision: str | None = None, offline: bool = False, to: Path | None = None
) -> tuple[Folder, Download | None]:
    """The checkpoint's configs, which are fetched, and what remains to be; None: the hub is out of reach, and
    the folder has all that it needs. Errors are those of `fetch`.
    """
    from huggingface_hub import constants

    place, offline = cache() if to is None else to, offline or constants.HF_HUB_OFFLINE
    if not offline:
        _refuse_pickles(model, _names(model, revision))
    path = _snapshot(model, CONFIGS, revision, offline=offline, to=to)
    commit = path.name if path.parent.name == "snapshots" else None
    folder = Folder(path, model, model, commit)
    parts = folder.parts
    files = (
        None
        if offline
        else _listing(model, [f"{part}/*.safetensors" for part in parts], commit or revision, to)
    )
    if files is None:
        for part in parts:
            if not any((path / part).glob("*.safetensors")):
                raise MachineError(
                    f"model '{model}': its {part} is not in the cache, and the hub is out of reach; "
                    f"`scumble fetch {model}` where there is a network, or name a local folder."
                )
        return folder, None
    chosen = [file for part in parts for file in _choose(files, part)]
    sizes = {file.filename: file.file_size or 0 for file in chosen}
    missing = {file.filename: sizes[file.filename] for file in chosen if file.will_download}
    return folder, Download(model, folder.licence() or "not stated", place, sizes, missing)


def cache() -> Path:
    """Where the hub's client keeps what it downloads. Raises MachineError where that is in a home that is not there."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE)
    if place.parts[:1] == ("~",):
        raise MachineError("cache: there is no home folder to keep downloads in; set HF_HOME to a folder")
    return place


def file_of(model: str, *, revision: str | None = None, offline: bool = False) -> tuple[Path, Download]:
    """A single file of the hub, "owner/name:file.safetensors": where it is, or will be, in the cache; and what
    fetching it takes. Nothing is fetched. Raises InputError or MachineError as `fetch` does.
    """
    from huggingface_hub import constants, hf_hub_download  # pyright: ignore[reportUnknownVariableType]

    repository, _, name = model.partition(":")
    offline = offline or constants.HF_HUB_OFFLINE
    place = cache()
    with hub_errors(model, revision, offline):
        if offline:
            path = Path(hf_hub_download(repository, name, revision=revision, local_files_only=True))
            return path, Download(model, "not stated", place, {}, {})
        info: Any = hf_hub_download(repository, name, revision=revision, dry_run=True)
    sizes = {name: info.file_size or 0}
    return Path(info.local_path), Download(
        model, "not stated", place, sizes, sizes if info.will_download else {}
    )


def fetch_file(model: str, *, revision: str | None = None, offline: bool = False) -> Path:
    """A single file of the hub in its cache, announced in the log like `fetch`."""
    from huggingface_hub import hf_hub_download  # pyright: ignore[reportUnknownVariableType]

    path, download = file_of(model, revision=revision, offline=offline)
    if not download.missing:
        return path
    _check_space(download)
    logger.warning("downloading %s", download)
    repository, _, name = model.partition(":")
    with hub_errors(model, revision):
        return Path(hf_hub_download(repository, name, revision=revision))


def _names(model: str, revision: str | None) -> list[str]:
    """All files of a repository; none where the hub is out of reach: what is in the cache then decides."""
    from huggingface_hub import HfApi

    try:
        with hub_errors(model, revision):
            return HfApi().list_repo_files(model, revision=revision)
    except MachineError:
        return []


def _refuse_pickles(model: str, names: Sequence[str]) -> None:
    """Raises InputError, before any download, for a repository without weights in a supported format."""
    blank = Folder(Path(), model, model)
    safe = [name for name in names if name.endswith(".safetensors")]
    pickles = [name for name in names if name.endswith(PICKLES)]
    for part in {**FAMILIES["sd3"].parts, **FAMILIES["latent"].parts}:
        bad = [name for name in pickles if name.startswith(f"{part}/")]
        if bad and not any(name.startswith(f"{part}/") for name in safe):
            wrong = f"its {part}/ has pickled weights only ({bad[0]}), and reading a pickle can run any code"
            raise blank.error(wrong, CONVERT.replace("NAME", repr(model)))
    if any(name.startswith(("unet/", "transformer/")) for name in names):
        return
    single = [name for name in safe if "/" not in name]
    if single:
        files = " or ".join(f"{model}:{name}" for name in single[:3])
        raise blank.error("it holds single files, and no checkpoint folder", f"name one of them: {files}")
    if pickles:
        wrong = f"it has pickled weights only ({pickles[0]}), and reading a pickle can run any code"
        raise blank.error(wrong, "use another checkpoint, or another person's conversion to safetensors")


def _choose(files: Sequence[Any], part: str) -> list[Any]:
    """The weights of a part: half precision where there is any, unless the plain ones are here already."""
    plain, half = (
        [
            f
            for f in files
            if re.fullmatch(rf"{part}/{stem(part)}{infix}(-\d+-of-\d+)?\.safetensors", f.filename)
        ]
        for infix in ("", r"\.fp16")
    )
    return plain if plain and not any(f.will_download for f in plain) else half or plain


def _listing(model: str, patterns: list[str], revision: str | None, to: Path | None) -> list[Any] | None:
    """What the hub has of these files, and which of them are here; None where it is out of reach."""
    from huggingface_hub import errors, snapshot_download  # pyright: ignore[reportUnknownVariableType]

    try:
        with hub_errors(model, revision):
            return snapshot_download(
                model, revision=revision, allow_patterns=patterns, local_dir=to, dry_run=True
            )
    except MachineError as error:
        if isinstance(error.__cause__, errors.DryRunError):
            return None
        raise


def _snapshot(
    model: str,
    patterns: list[str],
    revision: str | None,
    *,
    offline: bool = False,
    to: Path | None = None,
) -> Path:
    from huggingface_hub import errors, snapshot_download  # pyright: ignore[reportUnknownVariableType]

    with hub_errors(model, revision, offline):
        try:
            path = snapshot_download(
                model, revision=revision, allow_patterns=patterns, local_files_only=offline, local_dir=to
            )
        except errors.IncompleteSnapshotError as error:  # offline: what is there decides
            path = error.snapshot_path
    return Path(path)


def _check_space(download: Download) -> None:
    there = next(p for p in [download.folder, *download.folder.absolute().parents] if p.exists())
    free, needed = shutil.disk_usage(there).free, sum(download.missing.values()) * MARGIN
    if free < needed:
        raise MachineError(
            f"disk: model '{download.model}' needs {needed / 1e9:.1f} GB in {download.folder}, where "
            f"{free / 1e9:.1f} GB are free; free some, set HF_HOME to a folder on a larger disk, or "
            f"`scumble fetch {download.model} --to FOLDER`."
        )
