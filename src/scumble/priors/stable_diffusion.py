"""Stable Diffusion 1.x / 2.x shaped checkpoints as a Prior: by components, never by a pipeline's call."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor

from scumble.core.control import AttentionControl, Now, Site
from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.prior import Card, Text
from scumble.core.types import Image, Latent, Time
from scumble.priors._addons import Addons
from scumble.priors._advice import advise
from scumble.priors._attention import Bridge, installed, sites
from scumble.priors._card import differentiable, digest, latent_card, read_card, refuse_tuning
from scumble.priors._find import find
from scumble.priors._folder import SCOPE, Folder, refuse_unet
from scumble.priors._memory import Desk, explained
from scumble.priors._parts import Precision, load_parts, resolve_device, resolve_dtype
from scumble.priors._prompts import Vectors, rows
from scumble.priors._schedule import from_scheduler
from scumble.priors._sharing import Shared, alone, lock_of, usable


class StableDiffusionPrior(Shared):
    """A text-conditional latent diffusion model: U-Net, KL autoencoder, CLIP text encoder and tokenizer.

    Latents, texts and predictions are float32; the networks run in their own precision. Nothing sets no_grad.
    """

    def __init__(
        self,
        *,
        unet: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler: Mapping[str, Any],
        card: Callable[[], Card],
        desk: Desk,
        vectors: Vectors | None = None,
    ):
        """The components as they are, sharing `desk`; `card` is called when first needed: hashing takes time."""
        self.schedule = from_scheduler(scheduler)
        self.device = desk.device
        self.loaded: Mapping[str, Any] = {}  # how load_prior came by it
        self._desk = desk
        self._unet, self._vae, self._text_encoder, self._tokenizer = unet, vae, text_encoder, tokenizer
        self._vectors = vectors or {}
        self._card = cache(card)
        self._lock, self._bridge = lock_of(unet), cast(Bridge | None, None)
        self._precision = Precision(unet)
        self._scale: float = vae.config.scaling_factor
        self._shift: float = getattr(vae.config, "shift_factor", None) or 0.0
        self._stride = 2 ** (len(vae.config.block_out_channels) - 1)

    @classmethod
    def from_pretrained(
        cls,
        id_or_path: str | Path,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        revision: str | None = None,
        offline: bool = False,
    ) -> Self:
        """A diffusers folder, a single file or a model hub id; safetensors only, no remote code.

        `device` auto: cuda, else mps, else cpu. `dtype` auto: float16 on cuda, else float32. Raises
        InputError for a checkpoint that is absent, incomplete, pickled or of another family.
        """
        folder = find(str(id_or_path), revision=revision, offline=offline)
        return cls.from_folder(folder, device=device, dtype=dtype)

    @classmethod
    def from_folder(
        cls,
        folder: Folder,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        addons: Addons | None = None,
        memory: Sequence[str] = (),
    ) -> Self:
        """A checkpoint that has been found already, with `addons`; `memory` of MEMORY.

        Raises InputError as from_pretrained does, MachineError where memory does not suffice.
        """
        folder.check()
        if folder.family() != "latent":
            raise folder.error("it paints pixels and reads no text", "load it with scumble.load")
        addons = addons or Addons()
        advise(folder, [lora.file.stem for lora in addons.loras])
        desk = Desk(resolve_device(device), memory)
        with explained(desk.device, memory):
            parts, known = load_parts(folder, desk.device, resolve_dtype(dtype, desk.device), desk.home)
            vectors = addons.apply(parts, folder)
        desk.prepare(parts["unet"], parts["vae"], parts["text_encoder"])
        return cls(
            **parts,
            scheduler=known.config("scheduler"),
            card=lambda: read_card(known, addons.digests),
            desk=desk,
            vectors=vectors,
        )

    @classmethod
    def from_pipeline(cls, pipe: Any) -> Self:
        """The components of a loaded diffusers pipeline, shared, neither moved nor cast.

        Raises InputError for a pipeline without them, or whose network wants further conditions.
        """
        name = type(pipe).__name__
        try:
            parts = {
                part: getattr(pipe, part)
                for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
            }
        except AttributeError as error:
            raise InputError(f"pipeline {name}: it has no {error.name}; {SCOPE}.") from None
        unet, vae, scheduler = parts["unet"].config, parts["vae"].config, _config(parts.pop("scheduler"))
        refuse_unet(unet, vae, lambda why: InputError(f"pipeline {name}: {why}; {SCOPE}."))

        def card() -> Card:
            modules = (parts[part] for part in ("unet", "vae", "text_encoder"))
            id = str(getattr(pipe, "name_or_path", "") or name).replace("\\", "/").rstrip("/")
            id = id if re.fullmatch(r"[\w.-]+/[\w.-]+", id) else id.rpartition("/")[2]
            return Card(id=id, hash=digest(modules), **latent_card(unet, vae))

        usable(parts["unet"], parts["vae"], parts["text_encoder"])
        # With offloading hooks the weights are elsewhere between calls; the pipeline knows where they run.
        device = getattr(pipe, "_execution_device", parts["unet"].device)
        return cls(**parts, scheduler=scheduler, card=card, desk=Desk(torch.device(device)))

    @property
    def card(self) -> Card:
        """What one must know before using it: the folder's card.json, or what the configs say.

        The hash is a sha256 over all weights, configs and tokenizer files (of a pipeline: the weights in
        memory), taken once, when first asked for; files of the hub's cache are known by their own sha256.
        """
        card = self._card()
        if differentiable(self._unet):
            return card
        return replace(card, capabilities=card.capabilities - {"gradient"})

    # Pictures and latents

    @alone
    def encode(self, image: Image, noise: Noise | None = None) -> Latent:
        """(b, 3, H, W) in [-1, 1] -> the posterior's mean, or a sample with `noise`, scaled; float32.

        Raises InputError unless H and W are multiples of the codec's stride.
        """
        height, width = image.shape[-2:]
        if height % self._stride or width % self._stride:
            sides = f"both sides must be multiples of {self._stride} for this model"
            raise InputError(f"image: {width} x {height} px; {sides}")

        def moments(vae: Any, x: Tensor) -> Tensor:
            return vae.encode(x).latent_dist.parameters

        mean, logvar = self._codec("encoding", moments, image.to(self.device)).chunk(2, dim=1)
        if noise is not None:
            mean = mean + (logvar.clamp(-30, 20) / 2).exp() * noise.like(mean)
        return (mean - self._shift) * self._scale

    @alone
    def decode(self, latent: Latent) -> Image:
        """(b, c, h, w) -> (b, 3, H, W), float32, not clamped."""

        def picture(vae: Any, z: Tensor) -> Tensor:
            return vae.decode(z).sample

        return self._codec("decoding", picture, latent.to(self.device) / self._scale + self._shift)

    def _codec(self, what: str, run: Callable[[Any, Tensor], Tensor], x: Tensor) -> Tensor:
        """run(autoencoder, x) in the autoencoder's precision, and in float32 if half precision overflows."""
        with self._desk.at_work(self._vae):
            y = run(self._vae, x.to(self._vae.dtype)).float()
        if self._vae.dtype == torch.float32 or y.isfinite().all() or not x.isfinite().all():
            return y
        warnings.warn(
            f"{what} overflowed in {self._vae.dtype}: it was repeated in float32, in which this prior's "
            "autoencoder runs from now on",
            UserWarning,
            stacklevel=3,
        )
        self._vae = copy.deepcopy(self._vae).float()  # a copy: the weights may belong to a pipeline
        with self._desk.at_work(self._vae):
            return run(self._vae, x.float())

    # Text

    @alone
    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """One row per prompt; beyond the tokenizer's limit it is cut, and a warning quotes the words cut off.

        `size` says nothing to this network. Raises InputError for any further condition.
        """
        if extra:
            raise InputError(
                f"embed: this model knows no condition {', '.join(map(repr, extra))}; it reads prompts only"
            )
        prompts = (prompts,) if isinstance(prompts, str) else tuple(prompts)
        limit = min(self._tokenizer.model_max_length, self._text_encoder.config.max_position_embeddings)
        ids, offsets, lengths = rows(self._tokenizer, prompts, limit, self._vectors)
        tokens = torch.tensor(ids, device=self.device)
        mask = None
        if getattr(self._text_encoder.config, "use_attention_mask", False):
            ends = torch.tensor(lengths, device=self.device)
            mask = (torch.arange(limit, device=self.device) < ends[:, None]).long()
        with self._desk.at_work(self._text_encoder):
            states = self._text_encoder(tokens, attention_mask=mask)[0]
        return Text(tokens=states.float(), prompts=prompts, ids=tokens, offsets=tuple(offsets))

    # The network

    @alone
    def predict(self, x_t: Latent, t: Time, text: Text, at: Time | None = None) -> Prediction:
        """One network call, told t (b,), on x_t (b, c, h, w) that stands at level `at` (None: t)."""
        at = t if at is None else at
        if self._bridge is None:
            out = self._call(x_t, t, text)
        else:
            now = Now(t, at, text.roles or (None,) * len(x_t), (x_t.shape[-2], x_t.shape[-1]))
            with self._bridge.call(now):
                out = self._call(x_t, t, text)
        return self.schedule.predict(x_t, at, **{self.schedule.prediction: out})

    def _call(self, x_t: Latent, t: Time, text: Text) -> Tensor:
        dtype = self._precision()
        # A control compares rows: under one, they stay together.
        size = 1 if self._desk.one_by_one and self._bridge is None else len(x_t)
        told = self.schedule.told(t)
        told = told.float() if told.is_floating_point() else told
        told = told.to(x_t.device, non_blocking=True)
        tokens = text.expand(len(x_t)).tokens.to(x_t.device, dtype)
        inputs = zip(x_t.to(dtype).split(size), told.split(size), tokens.split(size), strict=True)
        with self._desk.at_work(self._unet):
            out = [self._unet(*row, return_dict=False)[0] for row in inputs]
        return (out[0] if len(out) == 1 else torch.cat(out)).to(x_t.dtype)

    def sites(self) -> frozenset[Site]:
        """The places that a control can reach."""
        return frozenset(sites(self._unet))

    @contextmanager
    def control(self, control: AttentionControl) -> Iterator[None]:
        """Installs a control for the calls inside; afterwards processors and hooks are as before, always.

        Raises InputError if the control wants no site of this network, if another control is installed, and
        at the first call if a wanted site was not reached.
        """
        with self._lock:
            if self._bridge is not None:
                raise InputError("control: this prior is under a control already; compose the two into one")
            with installed(self._unet, control) as self._bridge:
                try:
                    yield
                finally:
                    self._bridge = None

    def _refuse_tuning(self) -> None:
        refuse_tuning(self.card.id, self._unet, self._desk.memory)

    def parameters(self, part: str = "all") -> Mapping[str, Tensor]:
        """The weights by name. `part`: "denoiser", "codec", "text" or "all".

        Raises InputError for another part.
        """
        parts = {"denoiser": self._unet, "codec": self._vae, "text": self._text_encoder}
        if part not in (*parts, "all"):
            raise InputError(f"part: {part!r}; this model has denoiser, codec, text and all")
        chosen = parts if part == "all" else {part: parts[part]}
        return {f"{name}.{key}": w for name, module in chosen.items() for key, w in module.named_parameters()}


def _config(scheduler: Any) -> dict[str, Any]:
    """A live scheduler's config; only one that came from a file says its class."""
    return {**scheduler.config, "_class_name": type(scheduler).__name__}
