"""The style of all figures, and what they are made of. Colours are those of Okabe & Ito, which all eyes tell apart."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scumble.core.errors import InputError
from scumble.reproduce.experiment import Experiment, Measured, Row, curve, levels, some, values

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
    "iteration": "iteration",
    "guidance": "guidance w",
    "time": "time t",
    "norm": "RMS of the SDS gradient",
    "cosine": "cosine between gradients",
}
WIDTH, DPI = 7.6, 100
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
    """Raises InputError, with the command that installs it, where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            "figures are drawn by matplotlib, which is not installed: pip install 'scumble[figures]'"
        ) from error


def render(experiment: Experiment, measured: Measured) -> Image:
    """The figure as a picture of few colours, so that it stays small."""
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
    return picture.quantize(256, dither=Image.Dither.NONE)


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
    figure: Any, rows: Sequence[Row], by: str, columns: Sequence[str], x: str = "iteration"
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


def line(axis: Any, rows: Sequence[Row], x: str, y: str, label: str, i: int = 0) -> None:
    """A mean over pictures, shaded by its standard error."""
    at, mean, error = curve(rows, x, y)
    shade = colour(label, i)
    axis.plot(at, mean, color=shade, marker=MARKERS[i % len(MARKERS)], label=label)
    axis.fill_between(at, mean - error, mean + error, color=shade, alpha=0.18, linewidth=0)


def strips(
    figure: Any, pictures: Mapping[str, NDArray[Any]], labels: Sequence[str], what: str = "iteration"
) -> None:
    """Blocks of pictures side by side: a row for every name (blocks, len(labels), h, w, 3), `labels` above."""
    blocks, columns = next(iter(pictures.values())).shape[:2]
    widths = [*[*[1] * columns, 0.25] * blocks][:-1]
    axes = figure.subplots(
        len(pictures),
        len(widths),
        squeeze=False,
        gridspec_kw={"width_ratios": widths, "wspace": 0, "hspace": 0},
    )
    for axis in axes.flat:
        bare(axis)
        axis.set_visible(False)
    for r, (name, array) in enumerate(pictures.items()):
        for b in range(blocks):
            for c, label in enumerate(labels):
                axis = axes[r, b * (columns + 1) + c]
                axis.set_visible(True)
                axis.imshow(array[b, c], interpolation="nearest")
                if r == 0:
                    axis.set_title(f"{what} {label}" if c == 0 else label, fontsize=7, pad=2, loc="center")
        axes[r, 0].set_ylabel(name, fontsize=8, rotation=90)


def grid(figure: Any, pictures: NDArray[Any], heads: Sequence[str] = (), sides: Sequence[str] = ()) -> None:
    """Pictures (rows, columns, h, w, 3) under the heads of their columns, beside the names of their rows."""
    axes = figure.subplots(*pictures.shape[:2], squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    for (r, c), axis in np.ndenumerate(axes):
        bare(axis)
        axis.imshow(pictures[r, c], interpolation="nearest")
        if r == 0 and heads:
            axis.set_title(heads[c], fontsize=7, pad=2, loc="center")
        if c == 0 and sides:
            axis.set_ylabel(sides[r], fontsize=7)


def bare(axis: Any) -> None:
    """An axis for a picture: no ticks, no frame."""
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)
