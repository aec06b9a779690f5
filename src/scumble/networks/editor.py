"""Editors: networks that edit a latent in one forward pass, one or many tasks each (DDS, arXiv:2304.07090, section 4).

    g(z, task) = z + strength * r(z, task)

The residual r is a U-Net of diffusers blocks whose time embedding carries the task instead of a time. Its last layer
starts at zero, so an untrained editor changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scumble.core.atomic import atomic
from scumble.core.errors import InputError, nearest
from scumble.core.text import Text
from scumble.core.types import Latent

if TYPE_CHECKING:
    from scumble.core.judges import Space
    from scumble.core.prior import Prior

KIND = "scumble-editor"
WEIGHTS = "editor.safetensors"
APART = (
    0.05  # of a latent's spread: two codecs that give the same picture latents further apart are two codecs
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One edit that an editor can make: its name, and the templates of what it starts from and leads to."""

    name: str
    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class EditorConfig:
    """The size of an editor's U-Net and how it is told the task.

    channels: of the latents; widths: of the U-Net's levels, each half the side of the one before; layers: residual
    blocks a level; attention: whether a level attends to itself; text: width of a text vector that stands for the
    task (the mean of the prompt's tokens) instead of a learned vector each, 0 for none.
    """

    channels: int
    widths: tuple[int, ...] = (64, 128, 128)
    layers: int = 1
    attention: tuple[bool, ...] = (False, True, True)
    head: int = 32
    groups: int = 16
    text: int = 0

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.attention) or not self.widths:
            raise InputError("editor: widths and attention need one value for each level")
        for width in self.widths:
            if width % self.groups or width % self.head:
                raise InputError(
                    f"editor: a width of {width} is not a multiple of groups ({self.groups}) and head ({self.head})"
                )


class Editor(nn.Module):
    """g(z, task): latents (b, c, h, w) of one codec -> edited latents of the same shape.

    `about`: what the model card says: the prior, the data, the recipe, figures. `probe`: the codec's latent of
    `probe_picture()`, by which `check` knows the codec again.
    """

    space: Space = "latents"
    noisy: bool = False

    def __init__(
        self,
        config: EditorConfig,
        tasks: tuple[Task, ...],
        *,
        probe: Tensor,
        about: dict[str, Any] | None = None,
    ):
        super().__init__()
        if not tasks or len({task.name for task in tasks}) < len(tasks):
            raise InputError("tasks: an editor needs at least one, and each needs a name of its own")
        self.config, self.tasks, self.about = config, tasks, about or {}
        self._checked: set[str] = set()  # hashes of priors whose codec is known to be the right one
        self.register_buffer("probe", probe.detach().float().cpu(), persistent=True)
        self.unet = _unet(config)
        width = self.unet.time_embedding.linear_2.out_features
        self.task = nn.Linear(config.text, width) if config.text else nn.Embedding(len(tasks), width)
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)

    # What it does

    def forward(self, z: Latent, task: Tensor, strength: Float[Tensor, " b"] | float = 1.0) -> Latent:
        """z + strength r(z, task). task: (b,) numbers of tasks, or (b, text) vectors where config.text says so."""
        s = strength.to(z).reshape(-1, 1, 1, 1) if isinstance(strength, Tensor) else strength
        return z + s * self.residual(z, task)

    def residual(self, z: Latent, task: Tensor) -> Latent:
        """r(z, task), in the latent's unit and shape. Sides that the U-Net cannot halve are padded and cut again."""
        multiple = 2 ** (len(self.config.widths) - 1)
        h, w = z.shape[-2:]
        padded = nn.functional.pad(z, (0, -w % multiple, 0, -h % multiple), mode="replicate")
        vector = self.task(task.to(self.task.weight.dtype) if self.config.text else task)
        r = self.unet(padded, 0, class_labels=vector).sample
        return r[..., :h, :w].to(z.dtype)

    def number(self, name: str) -> int:
        """The number of a task; of the only one for "". Raises InputError, with the list, for one that there is not."""
        names = [task.name for task in self.tasks]
        if name == "":
            if len(names) > 1:
                raise InputError(f"task: this editor has several; choose one of {', '.join(names)}")
            return 0
        if not isinstance(cast("object", name), str):  # hosts do not check types
            raise InputError(f"task: {name!r} is not a word; this editor has {', '.join(names)}")
        if name not in names:
            raise InputError(
                f"task: there is no {name!r}{nearest(name, names)}; this editor has {', '.join(names)}"
            )
        return names.index(name)

    def check(self, prior: Prior) -> None:
        """Raises InputError where the prior's codec is not the one whose latents this editor was trained on."""
        if prior.card.hash and prior.card.hash in self._checked:
            return
        with torch.no_grad():
            here = prior.encode(probe_picture().to(next(self.parameters()))).float().cpu()
        there = cast(Tensor, self.probe)
        if here.shape != there.shape or bool((here - there).abs().mean() > APART * there.std()):
            raise InputError(
                f"editor: made for the latents of {self.about.get('prior', 'another model')}, and the codec of "
                f"{prior.card.id!r} is another one; name the model that it was trained with"
            )
        self._checked.add(prior.card.hash)

    # As files

    @property
    def id(self) -> str:
        """Its name in messages."""
        return str(self.about.get("name", "editor"))

    @property
    def hash(self) -> str:
        """sha256 of the weights and the tasks, shortened."""
        found = hashlib.sha256(json.dumps([asdict(task) for task in self.tasks]).encode())
        for name, value in sorted(self.state_dict().items()):
            found.update(
                name.encode() + value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
            )
        return found.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Writes config.json and the weights in half precision, the weights first, each whole or not at all."""
        from safetensors.torch import save

        folder.mkdir(parents=True, exist_ok=True)
        state = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        half = {name: x if name == "probe" else x.half() for name, x in state.items()}
        described = {
            "model_type": KIND,
            "config": asdict(self.config),
            "tasks": [asdict(task) for task in self.tasks],
            "about": self.about,
        }
        with atomic(folder / WEIGHTS) as part:
            part.write_bytes(save(half))
        with atomic(folder / "config.json") as part:
            part.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """The editor of a folder that `save` wrote. Raises InputError for weights that are missing or do not fit."""
        from safetensors.torch import load_file as load  # pyright: ignore[reportUnknownVariableType]

        described: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        names = {f.name for f in fields(EditorConfig)}
        config: dict[str, Any] = {
            name: tuple(cast("list[Any]", value)) if isinstance(value, list) else value
            for name, value in described["config"].items()
            if name in names
        }
        if not (folder / WEIGHTS).is_file():
            raise InputError(f"editor {folder}: {WEIGHTS} is missing; copy the whole folder")
        state: dict[str, Tensor] = load(folder / WEIGHTS)
        tasks = tuple(Task(**task) for task in described["tasks"])
        made = cls(EditorConfig(**config), tasks, probe=state["probe"], about=described["about"])
        made.load_state_dict({name: value.float() for name, value in state.items()})
        return made.requires_grad_(False).eval()


def _unet(config: EditorConfig) -> Any:
    """An untrained UNet2DModel that takes the task's vector as its class embedding."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    down = tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in config.attention)
    up = tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in config.attention[::-1])
    return UNet2DModel(
        in_channels=config.channels,
        out_channels=config.channels,
        block_out_channels=config.widths,
        down_block_types=cast("tuple[str]", down),
        up_block_types=cast("tuple[str]", up),
        layers_per_block=config.layers,
        attention_head_dim=config.head,
        norm_num_groups=config.groups,
        class_embed_type="identity",
    )


def warmed(editor: Editor, prior: Prior) -> int:
    """Start from the prior's own U-Net where names and shapes agree; how many values were taken.

    The last layer stays zero, so that the editor still starts as the identity.
    """
    own = editor.unet.state_dict()
    theirs = {name.partition(".")[2]: value for name, value in prior.parameters("denoiser").items()}
    taken = {
        name: value.detach().to(own[name])
        for name, value in theirs.items()
        if name in own and own[name].shape == value.shape and not name.startswith("conv_out")
    }
    editor.unet.load_state_dict(taken, strict=False)
    return sum(value.numel() for value in taken.values())


def probe_picture() -> Float[Tensor, "1 3 H W"]:
    """A fixed picture whose latent tells one codec from another: gradients with edges, (1, 3, 128, 128)."""
    u = torch.linspace(-1, 1, 128)
    y, x = torch.meshgrid(u, u, indexing="ij")
    disc = ((x - 0.2) ** 2 + (y + 0.1) ** 2 < 0.3).float() * 2 - 1
    return torch.stack([x * 0.8, y * disc * 0.6, disc * 0.7])[None]


def task_vector(text: Text) -> Float[Tensor, "b d"]:
    """What stands for a task whose editor reads prompts: the mean of the prompt's tokens."""
    return text.tokens.float().mean(1)
