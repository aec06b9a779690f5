"""Trained editors as files that run without scumble: ONNX, and PyTorch's own exported programs.

The exported network takes pictures and gives pictures; codec, editor and rounding are inside:

    edited (b, H, W, 3) uint8 = network(picture (b, H, W, 3) uint8, task (b,) int64, strength (b,) float32)

H and W are multiples of `Exportable.multiple`.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scumble.core.atomic import atomic
from scumble.core.errors import InputError, MachineError
from scumble.core.outputs import Inputs, check_place
from scumble.core.places import exists, is_folder
from scumble.core.prior import Prior
from scumble.editing.results import check_folder, make_folder
from scumble.networks.editor import Editor

INPUTS, OUTPUT = ("picture", "task", "strength"), "edited"
ONNX, PROGRAM = ".onnx", ".pt2"
NEEDED = "onnx", "onnxruntime", "onnxscript"
BATCHES = 63  # from 64 rows on, diffusers' upsampling takes another path
SIDES = 2, 64  # of a picture, in multiples
BOUND = 1  # 8-bit steps by which a file's pictures may differ from PyTorch's

Pixels = NDArray[np.uint8]


class Exportable(nn.Module):
    """An editor between the encoder and the decoder of its codec, 8-bit pictures to 8-bit pictures.

    Raises InputError for an editor that reads prompts, a model without a codec, and another codec than the editor's.
    """

    def __init__(self, editor: Editor, prior: Prior):
        super().__init__()
        if editor.config.text:
            raise InputError(
                "export: this editor is told its task by a prompt, which only its model can read; train one with "
                "network: text: false"
            )
        codec: Callable[[], Any] | None = getattr(prior, "codec", None)
        if codec is None:
            raise InputError(
                f"export: model {prior.card.id!r} has no codec; name the editor's own with --model"
            )
        editor.check(prior)
        self.codec, self.unet, self.task = codec(), editor.unet, editor.task
        self.multiple: int = self.codec.multiple * 2 ** (len(editor.config.widths) - 1)
        recipe: Mapping[str, Any] = editor.about.get("recipe", {})
        self.about: dict[str, Any] = {
            "name": editor.id,
            "tasks": [task.name for task in editor.tasks],
            "multiple": self.multiple,
            "size": recipe.get("size") or prior.card.size,  # the long side that it was trained on, in pixels
            "prior": prior.card.id,
            "licence": prior.card.licence,
        }

    def forward(self, picture: Tensor, task: Tensor, strength: Tensor) -> Tensor:
        z = self.codec.encode(picture.movedim(-1, 1).float() / 127.5 - 1)
        z = z + strength.reshape(-1, 1, 1, 1) * self.unet(z, 0, class_labels=self.task(task)).sample
        image = self.codec.decode(z).clamp(-1, 1)
        return ((image + 1) * 127.5).round().to(torch.uint8).movedim(1, -1)

    def example(self, seed: int, batch: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs of some size, in multiples: smooth random pictures, the tasks in turn, strengths up to 1."""
        draws = np.random.default_rng(seed).integers(0, 256, (batch, 3, 2 * height, 2 * width))
        sides = (height * self.multiple, width * self.multiple)
        picture = nn.functional.interpolate(torch.from_numpy(draws).float(), sides, mode="bilinear")
        task = torch.arange(batch) % len(self.about["tasks"])
        return picture.round().to(torch.uint8).movedim(1, -1), task, torch.linspace(1, 0.5, batch)


def check(out: Path, inputs: Sequence[str | Path] = (), *, overwrite: bool = False) -> None:
    """Raises InputError for a place that nothing can be written to, and for libraries that are missing.

    inputs: the folder of the editor, and what its model is read from: neither takes the exported files.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"export: needs {', '.join(missing)}; install scumble[export]")
    if out.suffix and out.suffix not in (ONNX, PROGRAM):
        raise InputError(f"{out}: name a file NAME{ONNX} or NAME{PROGRAM}, or a folder, which has no suffix")
    if not out.suffix and exists(out) and not is_folder(out):
        raise InputError(f"{out}: a file is in the way; choose another folder")
    if out.suffix and not is_folder(out.parent):
        raise InputError(f"{out}: there is no folder {out.parent}; make it first")
    if is_folder(out) and any(is_folder(path) and out.samefile(path) for path in inputs):
        raise InputError(f"{out}: this is the folder that is exported, or its model's; choose another one")
    if not out.suffix:
        check_folder(out)
    files = Inputs(inputs)
    for path in _files(out) if out.suffix or is_folder(out) else ():
        check_place(path, files, overwrite=overwrite)


def export(editor: Editor, prior: Prior, out: Path, *, overwrite: bool = False) -> list[Path]:
    """Writes the editor to `out`: NAME.onnx, NAME.pt2, or a folder for both and a README; the files, each whole or
    not at all, and none that fails its check.

    Raises:
        InputError: as `check` and `Exportable` do.
        MachineError: a file's pictures differ from PyTorch's by more than one step; the disk is full.
    """
    check(out, overwrite=overwrite)
    network = Exportable(editor, prior).eval().requires_grad_(False)
    program = _program(network)
    makers: dict[str, Callable[[Any, Exportable], bytes]] = {ONNX: _as_onnx, PROGRAM: _as_program}
    made = {path: makers[path.suffix](program, network) for path in _files(out) if path.suffix in makers}
    if not out.suffix:
        made[out / "README.md"] = readme(network.about, editor).encode()
        make_folder(out)
    for path, content in made.items():
        with atomic(path, replace=overwrite) as part:
            part.write_bytes(content)
    return [*made]


def _files(out: Path) -> list[Path]:
    return [out] if out.suffix else [out / f"editor{ONNX}", out / f"editor{PROGRAM}", out / "README.md"]


def _program(network: Exportable) -> Any:
    """The exported program, of any batch and canvas."""
    batch = torch.export.Dim("batch", min=1, max=BATCHES)
    height, width = (torch.export.Dim(name, min=SIDES[0], max=SIDES[1]) for name in ("h", "w"))
    sizes = ({0: batch, 1: network.multiple * height, 2: network.multiple * width}, {0: batch}, {0: batch})
    return torch.export.export(network, network.example(0, 2, 3, 4), dynamic_shapes=sizes, strict=False)


def _as_program(program: Any, network: Exportable) -> bytes:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"editor.json": json.dumps(network.about)})
    file.seek(0)
    again: Any = torch.export.load(file).module()
    _agree("torch.export", network, lambda *inputs: again(*inputs))
    return file.getvalue()


def _as_onnx(program: Any, network: Exportable) -> bytes:
    with _hushed():
        made: Any = torch.onnx.export(
            program, dynamo=True, input_names=list(INPUTS), output_names=[OUTPUT], verbose=False
        )
    for name, value in network.about.items():
        made.model.metadata_props[name] = value if isinstance(value, str) else json.dumps(value)
    content: bytes = made.model_proto.SerializeToString()
    run = _session(content)
    _agree("ONNX", network, lambda *inputs: torch.from_numpy(run(*inputs)))
    return content


def _session(content: bytes) -> Callable[..., Pixels]:
    import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

    session: Any = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(*inputs: Tensor) -> Pixels:
        return session.run(None, {name: x.numpy() for name, x in zip(INPUTS, inputs, strict=True)})[0]

    return run


def _agree(what: str, network: Exportable, run: Callable[..., Tensor]) -> None:
    """Raises MachineError where a file gives other pictures than the network, on two canvases."""
    for seed, batch, height, width in ((1, 1, 2, 3), (2, 3, 3, 2)):
        inputs = network.example(seed, batch, height, width)
        with torch.no_grad():
            apart = int((run(*inputs).int() - network(*inputs).int()).abs().max())
        if apart > BOUND:
            raise MachineError(
                f"export: the {what} file gives other pictures than PyTorch (up to {apart} of 255 apart), so nothing "
                "was written; try the versions of torch, onnx and onnxruntime in constraints.txt"
            )


@contextmanager
def _hushed() -> Iterator[None]:
    """Without the exporter's own remarks on its progress and its libraries."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


SNIPPET = """\
import json

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("editor.onnx")
about = session.get_modelmeta().custom_metadata_map
tasks, size, multiple = (json.loads(about[name]) for name in ("tasks", "size", "multiple"))

picture = Image.open("in.png").convert("RGB")
scale = size / max(picture.size)  # to the size that it was trained on
sides = [max(round(side * scale / multiple), 2) * multiple for side in picture.size]
pixels = np.asarray(picture.resize(sides, Image.Resampling.LANCZOS))[None]

task, strength = np.array([tasks.index("TASK")]), np.array([1.0], np.float32)
(edited,) = session.run(None, {"picture": pixels, "task": task, "strength": strength})
Image.fromarray(edited[0]).save("out.png")
"""


def readme(about: Mapping[str, Any], editor: Editor) -> str:
    """What the exported folder says of itself."""
    rows = "\n".join(
        f"| {k} | {task.name} | {task.source} | {task.target} |" for k, task in enumerate(editor.tasks)
    )
    m = about["multiple"]
    return f"""# {about["name"]}, exported

`editor.onnx` and `editor.pt2` hold the same network: an editor, and the codec of the model that taught it. It edits a
picture in one forward pass, without scumble; the ONNX file needs no torch.

| | name | shape | type |
|---|---|---|---|
| input | picture | (b, H, W, 3) | uint8, sRGB |
| input | task | (b,) | int64, a number of the table below |
| input | strength | (b,) | float32: 0 changes nothing, 1 is as trained |
| output | edited | (b, H, W, 3) | uint8, sRGB |

- H and W are multiples of {m}, {SIDES[0] * m} to {SIDES[1] * m} pixels. It was trained on {about["size"]} pixels.
- b is 1 to {BATCHES}.
- Both files were run before they were written: their pictures equal PyTorch's to one 8-bit step.
- It knows what its model knows: {about["prior"]}, licence: {about["licence"]}.

| number | task | from | to |
|---|---|---|---|
{rows}

With onnxruntime, numpy and Pillow:

```python
{SNIPPET.replace("TASK", editor.tasks[0].name)}```

With torch:

```python
import torch

edit = torch.export.load("editor.pt2").module()
edited = edit(picture, task, strength)  # tensors of the types above
```
"""
