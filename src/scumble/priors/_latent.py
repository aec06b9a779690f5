"""What all text-conditional latent diffusion models share: a network with text input, between the encoder and decoder
of a codec.

A family adds how a prompt becomes a `Text`, and how its network is called.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from scumble.core.control import AttentionControl, Now, Site
from scumble.core.errors import InputError
from scumble.core.prediction import Prediction
from scumble.core.prior import Card, Text
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Time
from scumble.priors._addons import Addons
from scumble.priors._advice import advise
from scumble.priors._attention import Bridge, installed, sites
from scumble.priors._card import auto_dtype, describe, differentiable, digest, read_card
from scumble.priors._conditions import refuse_network
from scumble.priors._families import FAMILIES
from scumble.priors._find import find
from scumble.priors._folder import SCOPE, Folder
from scumble.priors._memory import Desk, explained
from scumble.priors._parts import DTYPES, Precision, assemble, load_text, resolve_device, resolve_dtype
from scumble.priors._pipeline import config, plain, refuse_half_t5
from scumble.priors._prompts import Vectors
from scumble.priors._schedule import from_scheduler
from scumble.priors._sharing import alone, lock_of, usable
from scumble.priors._texts import Load, TextEncoders
from scumble.priors._tunable import TunableParts


class LatentPrior(TunableParts):
    """Latents, texts and predictions are float32; the networks run in their own precision. Nothing sets no_grad.

    `family`: a name of FAMILIES; `ends`: see `core.warp.Warp`; `dtypes`: what its network can run in.
    """

    family: ClassVar[str]
    ends: ClassVar[Any] = None
    dtypes: ClassVar[Sequence[str]] = tuple(DTYPES)

    def __init__(
        self,
        *,
        parts: Mapping[str, Any],
        scheduler: Mapping[str, Any],
        card: Callable[[], Card],
        desk: Desk,
        index: Mapping[str, Any] | None = None,
        vectors: Vectors | None = None,
        skip: int = 0,
        texts: Load | None = None,
    ):
        """`parts`: the modules and tokenizers by the names of their folders, sharing `desk`. `card` is called when
        first needed: hashing takes time. `index`: what model_index.json says. `vectors`: of
        added words; `skip`: how many more of their last layers the CLIPs leave out, where the network is shown a layer.
        `texts` loads text encoders again: with it, they leave memory when the network is asked.
        """
        network = FAMILIES[self.family].network
        self.schedule: Schedule = from_scheduler(scheduler, ends=self.ends)
        self.device = desk.device
        self.loaded: Mapping[str, Any] = {}  # how load_prior came by it
        self._desk, self._index = desk, index or {}
        self._network, self._vae = parts[network], parts["vae"]
        encoders = {
            name: part for name, part in parts.items() if name.startswith("text_encoder") and part is not None
        }
        self._texts = TextEncoders(encoders, texts, desk.forget)
        self.tokenizers: Mapping[str, Any] = {
            name: getattr(
                part, "tokenizer", part
            )  # a processor's, where the text encoder can be shown pictures
            for name, part in parts.items()
            if name.startswith("tokenizer") and part is not None
        }
        self._vectors, self._skip = vectors or {}, skip
        self._card = cache(card)
        self.lock, self._bridge = lock_of(self._network), cast(Bridge | None, None)
        self._precision = Precision(self._network)
        self._set_scale()

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

        `device` auto: cuda, else mps, else cpu. `dtype` auto: the family's half precision on cuda, else float32.
        Raises InputError for a checkpoint that is absent, incomplete, pickled or of another family.
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
        if folder.family() != cls.family:
            raise folder.error(f"it is of another family ({folder.kin.title})", "load it with scumble.load")
        addons = addons or Addons()
        addons.check(folder, memory)
        advise(folder, [lora.file.stem for lora in addons.loras])
        desk = Desk(resolve_device(device), memory)
        with explained(desk.device, memory):
            precision = resolve_dtype(dtype, desk.device, auto_dtype(folder))
            if str(precision).removeprefix("torch.") not in cls.dtypes:
                raise folder.error(f"it runs in {' or '.join(cls.dtypes)}, not in float16", "leave dtype out")
            parts, known, vectors = assemble(folder, desk, precision, addons)
        modules = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
        network, vae = modules.pop(folder.kin.network), modules.pop("vae")
        desk.prepare(network, vae, *modules.values())
        return cls(
            parts=parts,
            scheduler=known.config("scheduler"),
            card=lambda: read_card(known, addons.digests),
            desk=desk,
            index=known.index,
            vectors=vectors,
            skip=addons.clip_skip,
            texts=(lambda part: load_text(known, part, desk, precision, addons)) if desk.forgets else None,
        )

    @classmethod
    def from_pipeline(cls, pipe: Any) -> Self:
        """The components of a loaded diffusers pipeline, shared, neither moved nor cast.

        Raises InputError for a pipeline without them, or whose network wants further conditions.
        """
        name, family = type(pipe).__name__, FAMILIES[cls.family]
        try:
            parts = {part: getattr(pipe, part) for part in (*family.parts, *family.tokenizers)}
            scheduler = config(pipe.scheduler)
        except AttributeError as error:
            raise InputError(f"pipeline {name}: it has no {error.name}; {SCOPE}.") from None
        modules: dict[str, Any] = {
            part: module for part, module in parts.items() if isinstance(module, nn.Module)
        }
        configs = {part: plain(module.config) for part, module in modules.items()}
        refuse_network(cls.family, configs, lambda why: InputError(f"pipeline {name}: {why}; {SCOPE}."))

        def card() -> Card:
            id = str(getattr(pipe, "name_or_path", "") or name).replace("\\", "/").rstrip("/")
            id = id if re.fullmatch(r"[\w.-]+/[\w.-]+", id) else id.rpartition("/")[2]
            known = {**configs, "model_index": dict(getattr(pipe, "config", {}))}
            return Card(id=id, hash=digest(iter(modules.values())), **describe(cls.family, known))

        refuse_half_t5(name, modules.values())
        usable(*modules.values())
        # With offloading hooks the weights are elsewhere between calls; the pipeline knows where they run.
        device = getattr(pipe, "_execution_device", modules[family.network].device)
        index = {key: value for key, value in getattr(pipe, "config", {}).items() if not key.startswith("_")}
        index["_class_name"] = name
        return cls(parts=parts, scheduler=scheduler, card=card, desk=Desk(torch.device(device)), index=index)

    @property
    def card(self) -> Card:
        """What one must know before using it: the folder's card.json, or what the configs say.

        The hash is a sha256 over all weights, configs and tokenizer files (of a pipeline: the weights in
        memory), taken once, when first asked for; files of the hub's cache are known by their own sha256.
        """
        card = self._card()
        if differentiable(self._network):
            return card
        return replace(card, capabilities=card.capabilities - {"gradient"})

    # Text

    @abstractmethod
    def embed(
        self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object
    ) -> Text: ...

    def encode_ids(self, part: str, ids: Tensor, **settings: Any) -> Any:
        """What a text encoder says of token ids (b, L)."""
        encoder = self._texts[part]
        with self._desk.at_work(encoder):
            return encoder(ids, **settings)

    # The network

    @alone
    def predict(self, x_t: Latent, t: Time, text: Text, at: Time | None = None) -> Prediction:
        """One network call, told t (b,), on x_t (b, c, h, w) that stands at level `at` (None: t)."""
        at = t if at is None else at
        if self._bridge is None:
            out = self._call(x_t, t, text)
        else:
            size = (x_t.shape[-2], x_t.shape[-1])
            rows = text.expand(len(x_t))
            roles, place, mask = (
                text.roles or (None,) * len(x_t),
                self._place(rows, size),
                self._seen(rows, size),
            )
            now = Now(
                t, at, roles, size, place, None if mask is None or bool(mask.all()) else mask.to(x_t.device)
            )
            with self._bridge.call(now):
                out = self._call(x_t, t, text)
        return self.schedule.predict(x_t, at, **{self.schedule.prediction: out})

    def _place(self, text: Text, size: tuple[int, int]) -> slice | None:
        """Where the text stands among the tokens of joint attention, on a latent of `size`; None without such."""
        return None

    def _seen(self, text: Text, size: tuple[int, int]) -> Tensor | None:
        """(b, tokens): which tokens of joint attention are looked at; None for all."""
        return None

    @abstractmethod
    def _ask(self, x: Tensor, told: Tensor, text: Text, dtype: torch.dtype) -> Tensor:
        """The network's output for x, in its precision `dtype`, told times of the same device."""

    def _call(self, x_t: Latent, t: Time, text: Text) -> Tensor:
        if any(side % self.patch for side in x_t.shape[-2:]):
            raise InputError(
                f"latent: {tuple(x_t.shape[-2:])}; both sides must be multiples of {self.patch} for this model"
            )
        dtype = self._precision()
        # A control compares rows: under one, they stay together.
        size = 1 if self._desk.one_by_one and self._bridge is None else len(x_t)
        told = self.schedule.told(t)
        told = told.float() if told.is_floating_point() else told
        told = told.to(x_t.device, non_blocking=True)
        text, x = text.expand(len(x_t)), x_t.to(dtype)
        texts = [text] if size == len(x_t) else [text.take([i]) for i in range(len(x_t))]
        inputs = zip(torch.split(x, size), torch.split(told, size), texts, strict=True)
        self._texts.release()
        with self._desk.at_work(self._network):
            out = [self._ask(*row, dtype) for row in inputs]
        return (out[0] if len(out) == 1 else torch.cat(out)).to(x_t.dtype)

    def sites(self) -> frozenset[Site]:
        """The places that a control can reach."""
        return frozenset(sites(self._network))

    @contextmanager
    def control(self, control: AttentionControl) -> Generator[None]:
        """Installs a control for the calls inside; afterwards processors and hooks are as before, always.

        Raises InputError if the control wants no site of this network, if another control is installed, and
        at the first call if a wanted site was not reached.
        """
        with self.lock:
            if self._bridge is not None:
                raise InputError("control: this prior is under a control already; compose the two into one")
            with installed(self._network, control) as self._bridge:
                try:
                    yield
                finally:
                    self._bridge = None
