"""The style of all figures, and their parts. Colours are those of Okabe & Ito, which are safe for colour-blind
readers.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scumble.core.errors import InputError
from scumble.reproduce.experiment import Experiment, Measured, TableRow, curve, levels, some, values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

INK, FAINT = "#1d1d1f", "#63636a"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
OF = {"DDS": COLOURS[0], "SDS": COLOURS[1], "DDIM": COLOURS[2], "SDS, target prompt": COLOURS[1]}
MARKERS = "osD^vP"
LABELS = {
    "sharpness": "sharpness [1 = as it should be]",
    "distance": "distance to source [8-bit steps]",
    "outside": "outside the mask [8-bit steps]",
    "achieved": "share of the change achieved",
    "direction": "direction: margin gained",
    "loss": "loss: mean squared gradient",
    "iteration": "step",
    "guidance": "guidance w",
    "time": "time t",
    "norm": "RMS of the SDS gradient",
    "cosine": "cosine between gradients",
}
WIDTH, DPI = 7.6, 100
HEAT = "cividis"
STYLE: Mapping[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.edgecolor": FAINT,
    "axes.titlelocation": "left",
    "grid.color": "#e4e4e7",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 3.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}


def check_matplotlib() -> None:
    """Raises InputError, with the command that installs it, if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            "figures are drawn by matplotlib, which is not installed: pip install 'scumble[figures]'"
        ) from error


def render(experiment: Experiment, measured: Measured) -> Image:
    """The figure as a picture with few colours, to keep the file small."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from PIL import Image

    with mpl.rc_context(dict[Any, Any](STYLE)):
        figure = Figure(figsize=(WIDTH, experiment.height), dpi=DPI, layout="constrained")
        pads: Any = figure.get_layout_engine()
        pads.set(w_pad=0.05, h_pad=0.05)
        experiment.draw(figure, measured)
        data = io.BytesIO()
        figure.savefig(data, format="png")
    picture = Image.open(data).convert("RGB")
    return picture.quantize(256, kmeans=2, dither=Image.Dither.NONE)


def stacked(figure: Any, heights: Sequence[float]) -> Any:
    """Parts of a figure, one below the other."""
    return figure.subfigures(len(heights), 1, height_ratios=heights)


def beside(figure: Any, widths: Sequence[float]) -> Any:
    """Parts of a figure, side by side."""
    return figure.subfigures(1, len(widths), width_ratios=widths)


def colour(name: object, i: int = 0) -> str:
    """The same for the same name in all figures."""
    return OF.get(str(name), COLOURS[(i + 2) % len(COLOURS)])


def paths(
    figure: Any, rows: Sequence[TableRow], by: str, columns: Sequence[str], x: str = "iteration"
) -> list[Axes]:
    """An axis for every column that is known: its mean over x with the standard error, a line for every level
    of `by`.
    """
    known = [column for column in columns if len(values(rows, column))]
    axes = np.atleast_1d(figure.subplots(1, len(known)))
    for axis, column in zip(axes, known, strict=True):
        for i, level in enumerate(levels(rows, by)):
            line(axis, some(rows, **{by: level}), x, column, str(level), i)
        axis.set(xlabel=LABELS[x], title=LABELS[column])
    if len(levels(rows, by)) > 1:
        axes[0].legend()
    return list(axes)


def line(axis: Any, rows: Sequence[TableRow], x: str, y: str, label: str, i: int = 0) -> None:
    """A mean over pictures, shaded by its standard error."""
    at, mean, error = curve(rows, x, y)
    shade = colour(label, i)
    axis.plot(at, mean, color=shade, marker=MARKERS[i % len(MARKERS)], label=label)
    axis.fill_between(at, mean - error, mean + error, color=shade, alpha=0.18, linewidth=0)


def strips(figure: Any, pictures: Mapping[str, NDArray[Any]], labels: Sequence[str]) -> None:
    """Blocks of pictures side by side: a row for every name (blocks, len(labels), h, w, 3), `labels` above."""
    array = np.stack([np.concatenate(list(blocks)) for blocks in pictures.values()])
    heads = [f"step {labels[0]}", *labels[1:]] * (array.shape[1] // len(labels))
    grid(figure, array, heads, list(pictures), block=len(labels))


def grid(
    figure: Any, pictures: NDArray[Any], heads: Sequence[str] = (), sides: Sequence[str] = (), block: int = 0
) -> Axes:
    """Pictures (rows, columns, h, w, 3) under the heads of their columns, beside the names of their rows; after
    every `block` columns a wider gap.
    """
    rows, columns, h, w, _ = pictures.shape
    gap = max(w // 16, 1)
    lefts = [c * (w + gap) + (c // block if block else 0) * w // 4 for c in range(columns)]
    tops = [r * (h + gap) for r in range(rows)]
    canvas = np.full((tops[-1] + h, lefts[-1] + w, 3), 255, np.uint8)
    for (r, top), (c, left) in product(enumerate(tops), enumerate(lefts)):
        canvas[top : top + h, left : left + w] = pictures[r, c]
    axis = figure.subplots()
    axis.imshow(canvas)
    bare(axis)
    for head, left in zip(heads, lefts, strict=False):
        axis.text(left + w / 2, -gap, head, ha="center", va="baseline", fontsize=7, linespacing=1.0)
    for side, top in zip(sides, tops, strict=False):
        axis.text(-gap, top + h / 2, side, ha="right", va="center", fontsize=7)
    return axis


def heat(values: NDArray[np.floating[Any]], most: float, size: Sequence[int]) -> NDArray[np.uint8]:
    """Maps (..., h, w) from 0 to `most` in colours, enlarged to `size`, (..., H, W, 3)."""
    from matplotlib import colormaps

    rows, columns = (np.arange(n) * k // n for n, k in zip(size, values.shape[-2:], strict=True))
    large = values[..., rows[:, None], columns[None]]
    return (255 * colormaps[HEAT](large / most)[..., :3]).astype(np.uint8)


def scale(figure: Any, axis: Axes, most: float, label: str) -> None:
    """The colour scale of `heat`, below an axis."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    shades = ScalarMappable(Normalize(0, most), HEAT)
    figure.colorbar(shades, ax=axis, location="bottom", shrink=0.5, aspect=40, label=label)


def outlined(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A picture with the border of a mask in black and white, which is visible on any background."""
    inner = mask & np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1)
    outer = mask | np.roll(mask, 1, 0) | np.roll(mask, -1, 0) | np.roll(mask, 1, 1) | np.roll(mask, -1, 1)
    drawn = picture.copy()
    drawn[mask & ~inner], drawn[outer & ~mask] = 0, 255
    return drawn


def bare(axis: Any) -> None:
    """An axis for a picture: no ticks, no frame."""
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)
