"""What is fetched from the model hub, what is said before, and one sentence for each way to fail: a faked hub."""

import errno
import logging
import shutil
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants, errors
from huggingface_hub.file_download import DryRunFileInfo
from safetensors.torch import save_file

from scumble.core.errors import InputError, MachineError
from scumble.priors._find import find
from scumble.priors.load import load_prior, outstanding

SHA = "0" * 40
EditJson = Callable[..., None]


class Hub:
    """A hub of one repository, and a cache; keeps a list of what it delivered."""

    def __init__(self, repository: Path, cache: Path):
        self.repository, self.cache = repository, cache / "models--owner--name/snapshots" / SHA
        self.delivered: list[str] = []
        self.fails: Exception | None = None

    def snapshot_download(
        self,
        model: str,
        *,
        allow_patterns: Sequence[str],
        revision: str | None = None,
        local_files_only: bool = False,
        local_dir: Path | None = None,
        dry_run: bool = False,
    ) -> Any:
        if self.fails:
            raise self.fails
        place = local_dir or self.cache
        if local_files_only:
            if not place.is_dir():
                raise errors.LocalEntryNotFoundError("x")
            return str(place)
        names = [f.relative_to(self.repository).as_posix() for f in self.repository.rglob("*") if f.is_file()]
        names = [name for name in names if any(fnmatch(name, pattern) for pattern in allow_patterns)]
        if dry_run:
            return [self.info(name, place) for name in names]
        for name in names:
            if not (place / name).exists():
                self.delivered.append(name)
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.repository / name, place / name)
        return str(place)

    def info(self, name: str, place: Path) -> DryRunFileInfo:
        size, there = (self.repository / name).stat().st_size, (place / name).exists()
        return DryRunFileInfo(SHA, size, name, str(place / name), there, not there)

    def list_repo_files(self, model: str, *, revision: str | None = None) -> list[str]:
        if self.fails:
            raise self.fails
        return [f.relative_to(self.repository).as_posix() for f in self.repository.rglob("*") if f.is_file()]

    def hf_hub_download(self, model: str, name: str, *, dry_run: bool = False, **options: Any) -> Any:
        if self.fails:
            raise self.fails
        if dry_run:
            return self.info(name, self.cache)
        return str(Path(self.snapshot_download(model, allow_patterns=[name])) / name)

    @property
    def weights(self) -> list[str]:
        return sorted(name for name in self.delivered if name.endswith(".safetensors"))


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The tiny checkpoint in a hub, beside things that must not be fetched."""
    for name in (
        "safety_checker/model.safetensors",
        "unet/diffusion_pytorch_model.ckpt",
        "v1.ckpt",
        "flax.msgpack",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "README.md").write_text("---\nlicense: openrail\n---\n")
    hub = Hub(folder, tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.hf_hub_download)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "list_repo_files", lambda self, *a, **k: hub.list_repo_files(*a, **k)
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return hub


def refused(
    match: str, error: type[Exception] = InputError, model: str = "owner/name", **options: object
) -> None:
    with pytest.raises(error, match=match) as caught:
        load_prior(model, device="cpu", **options)
    assert "\n" not in str(caught.value)
    assert "owner/name" in str(caught.value)


# What is fetched


def test_configs_come_first_and_of_the_weights_only_what_is_needed(
    hub: Hub, caplog: pytest.LogCaptureFixture
):
    prior = load_prior("owner/name", device="cpu")
    assert hub.weights == [
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    first = hub.delivered.index(next(name for name in hub.delivered if name.endswith(".safetensors")))
    assert not any("json" in name for name in hub.delivered[first:])
    assert not any(name.startswith("safety") or name.endswith(("ckpt", "msgpack")) for name in hub.delivered)
    assert (prior.card.id, prior.card.licence, prior.loaded["revision"]) == ("owner/name", "openrail", SHA)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith("downloading 0.0 GB of owner/name (licence: openrail) to ")


def test_what_is_here_is_not_fetched_and_not_announced(hub: Hub, caplog: pytest.LogCaptureFixture):
    find("owner/name")
    hub.delivered.clear()
    caplog.clear()
    find("owner/name")
    assert not hub.delivered
    assert not caplog.records


def test_half_precision_is_taken_where_there_is_one(hub: Hub):
    plain = hub.repository / "unet/diffusion_pytorch_model.safetensors"
    shutil.copy(plain, plain.with_suffix(".fp16.safetensors"))
    load_prior("owner/name", device="cpu")
    assert [name for name in hub.weights if "unet" in name] == [
        "unet/diffusion_pytorch_model.fp16.safetensors"
    ]


def test_full_precision_that_is_here_already_is_taken(hub: Hub):
    plain = hub.repository / "unet/diffusion_pytorch_model.safetensors"
    find("owner/name")
    hub.delivered.clear()
    shutil.copy(plain, plain.with_suffix(".fp16.safetensors"))
    find("owner/name")
    assert not hub.delivered


def test_the_weights_of_what_is_refused_are_not_fetched(hub: Hub, edit_json: EditJson):
    edit_json(hub.repository / "unet/config.json", in_channels=9)
    refused("an inpainting model")
    assert not hub.weights


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_pickled_weights_are_refused_before_anything_is_fetched(hub: Hub, part: str):
    (file,) = (hub.repository / part).glob("*.safetensors")
    file.rename(file.with_suffix(".bin"))
    refused(rf"its {part}/ has pickled weights only \({part}/.*use_safetensors=False\).save_pretrained")
    assert not hub.delivered


def test_a_repository_of_single_files_is_refused_with_their_names(hub: Hub, caplog: pytest.LogCaptureFixture):
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler", "safety_checker"):
        shutil.rmtree(hub.repository / part)
    refused(r"it has pickled weights only \(v1.ckpt\)")
    save_file({"emb_params": torch.zeros(2, 16)}, hub.repository / "v1.safetensors")
    refused("it holds single files.*name one of them: owner/name:v1.safetensors")
    assert not hub.delivered
    assert "GB of owner/name:v1.safetensors" in str(outstanding("owner/name:v1.safetensors"))
    refused("owner/name:v1.safetensors': it is a textual inversion", model="owner/name:v1.safetensors")
    assert hub.delivered == ["v1.safetensors"]
    assert "downloading 0.0 GB of owner/name:v1.safetensors" in caplog.text
    assert outstanding("owner/name:v1.safetensors") is None


def test_a_hub_that_goes_away_leaves_what_is_here(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    find("owner/name")
    fetch = hub.snapshot_download

    def unreachable(model: str, *, dry_run: bool = False, **options: Any) -> Any:
        if dry_run:
            raise errors.DryRunError("x")
        return fetch(model, **{**options, "local_files_only": True})

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    assert find("owner/name").path == hub.cache
    next(hub.cache.glob("unet/*.safetensors")).unlink()
    refused("its unet is not in the cache, and the hub is out of reach", MachineError)


# What can go wrong


def test_not_cached_and_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    match = "it is not in the cache, and you are offline.*`scumble fetch owner/name` once"
    refused(match, MachineError, offline=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(match, MachineError)


def test_no_space(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    refused("disk: .* needs 0.0 GB in .*, where 0.0 GB are free; free some, set HF_HOME", MachineError)
    assert not hub.weights


def response(status: int) -> Any:
    client = pytest.importorskip(errors.HTTPError.__module__.partition(".")[0])
    return client.Response(status, request=client.Request("GET", "https://hub.invalid"))


@pytest.mark.parametrize(
    ("error", "kind", "match"),
    [
        (
            lambda: errors.LocalEntryNotFoundError("x"),
            MachineError,
            "not in the cache, and the hub is out of reach",
        ),
        (lambda: ConnectionError("refused"), MachineError, r"did not deliver it \(refused\); try again"),
        (lambda: errors.HTTPError("no route\nmore"), MachineError, r"did not deliver it \(no route\)"),
        (lambda: OSError(errno.ENOSPC, "No space left"), MachineError, "disk: it is full"),
        (
            lambda: errors.GatedRepoError("x", response=response(403)),
            InputError,
            "access to it is restricted; accept its terms on its page.*hf auth login",
        ),
        (
            lambda: errors.HfHubHTTPError("x", response=response(401)),
            InputError,
            r"refuses your login \(401\)",
        ),
        (
            lambda: errors.HfHubHTTPError("x", response=response(403)),
            InputError,
            r"refuses your login \(403\)",
        ),
        (lambda: errors.RevisionNotFoundError("x", response=response(404)), InputError, "no revision 'v2'"),
        (
            lambda: errors.HfHubHTTPError("503 Busy\nmore", response=response(503)),
            MachineError,
            r"did not deliver it \(503 Busy\)",
        ),
        (lambda: errors.HFValidationError("bad"), InputError, "is not an id of the model hub"),
    ],
)
def test_one_sentence_for_each(hub: Hub, error: Callable[[], Exception], kind: type[Exception], match: str):
    hub.fails = error()
    refused(match, kind, revision="v2")


@pytest.mark.parametrize(
    ("model", "found", "near"),
    [
        ("owner/name", [], "check the spelling"),
        ("owner/name", ["other/name", "x/y"], "near it: other/name. A private one"),
        ("runwayml/stable-diffusion-v1-5", [], "near it: stable-diffusion-v1-5/stable-diffusion-v1-5"),
    ],
)
def test_no_such_model(hub: Hub, monkeypatch: pytest.MonkeyPatch, model: str, found: list[str], near: str):
    class Api:
        def list_models(self, search: str, limit: int) -> list[SimpleNamespace]:
            assert search == model.rpartition("/")[2]
            return [SimpleNamespace(id=id) for id in found]

        def list_repo_files(self, model: str, revision: str | None) -> list[str]:
            return hub.list_repo_files(model, revision=revision)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    hub.fails = errors.RepositoryNotFoundError("x", response=response(404))
    with pytest.raises(InputError, match=f"the hub has no such model.*{near}"):
        find(model)


def test_no_such_model_and_a_search_that_fails(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub, "HfApi", fail)
    hub.fails = errors.RepositoryNotFoundError("x", response=response(404))
    refused("the hub has no such model; check the spelling")


def test_a_repository_in_many_files_says_their_sizes_first(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    from scumble import cli

    from .families import MAKERS

    shutil.rmtree(hub.repository)
    pipe = MAKERS["klein"]()
    pipe.save_pretrained(hub.repository, max_shard_size="30KB")
    shards = {
        part: sorted(file.stat().st_size for file in (hub.repository / part).glob("*.safetensors"))
        for part in ("transformer", "vae", "text_encoder")
    }
    assert len(shards["transformer"]) > 1
    assert len(shards["text_encoder"]) > 1
    cli.run(["fetch", "owner/name"])
    [line] = [record.getMessage() for record in caplog.records if "downloading" in record.getMessage()]
    whole = sum(sum(sizes) for sizes in shards.values())
    assert line.startswith(f"downloading {whole / 1e9:.1f} GB of owner/name (licence: not stated) to ")
    for part, sizes in shards.items():
        files = f" in {len(sizes)} files" if len(sizes) > 1 else ""
        assert f"{part} {sum(sizes) / 1e6:.1f} MB{files}" in line
    assert capsys.readouterr().out.strip() == str(hub.cache)
    assert load_prior("owner/name", device="cpu", offline=True).card.method == "flowedit"
    # Half of a part is gone: the rest is not fetched again, and counted as there.
    lost = sorted((hub.cache / "transformer").glob("*.safetensors"))[0]
    size = lost.stat().st_size
    lost.unlink()
    caplog.clear()
    cli.run(["fetch", "owner/name"])
    [line] = [record.getMessage() for record in caplog.records if "downloading" in record.getMessage()]
    assert line.startswith(f"downloading {size / 1e9:.1f} GB of owner/name")
    assert line.endswith(f"transformer {size / 1e6:.1f} MB; {(whole - size) / 1e6:.1f} MB are there already")
