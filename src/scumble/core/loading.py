"""Which model, and how it is loaded: one value for recipes, `scumble.load` and the priors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scumble.core.prior import Prior


def described(help: str, default: Any = None, *, values: str | None = None) -> Any:
    """A field with its help text. `values`: how a value is written on a command line."""
    return field(default=default, metadata={"help": help, "values": values})


@dataclass(frozen=True)
class Loading:
    """The model of an edit, and how it is loaded. The arguments of `scumble.load`.

    model: "scenes" (built in), a checkpoint folder or file, the id of one on the model hub, or a prior.
    device: "cpu", an accelerator's name, or "auto" for the best available.
    dtype: precision of the network calls: "float32", "float16", "bfloat16", or "auto" for what the device does best.
    revision: a branch, tag or commit of the hub.
    offline: use only local files; download nothing.
    lora: LoRA files; ":0.8" after the name sets the weight (default 1).
    vae: a codec file (.safetensors) that replaces the model's own.
    embedding: files of textual inversions; each adds a word, named by its tensor or by the file.
    clip_skip: how many of the last layers of the text encoder to leave out; 1 is what A1111 calls 2.
    memory: settings that trade time for memory: any of "slicing", "tiling", "offload", "sequential".
    """

    model: str | Path | Prior = described(
        '"scenes" (built in), a checkpoint folder or file, or the id of one on the hub.', "scenes"
    )
    _: KW_ONLY
    device: str = described("The device: cpu, an accelerator, or auto for the best available.", "auto")
    dtype: str = described("Precision of the network calls: auto, float32, float16, bfloat16.", "auto")
    revision: str | None = described("A branch, tag or commit of a model on the hub.")
    offline: bool = described("Download nothing.", False)
    lora: Sequence[str] = described("LoRA files for the model; repeats.", (), values="FILE[:WEIGHT]")
    vae: str | None = described("A codec that replaces the model's own.", values="FILE")
    embedding: Sequence[str] = described("Textual inversions for the model; repeats.", (), values="FILE")
    clip_skip: int = described(
        "Last layers of the text encoder to leave out (A1111's Clip skip, less one).", 0
    )
    memory: Sequence[str] = described(
        "Use less memory and more time: slicing, tiling, offload, sequential; repeats.", (), values="NAME"
    )

    @property
    def options(self) -> dict[str, Any]:
        """How the model is loaded: everything except its name."""
        return {f.name: getattr(self, f.name) for f in fields(Loading) if f.name != "model"}
