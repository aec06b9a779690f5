"""The programs that draw: six ways from a `Drawing` to pixels, none of them scumble's own renderer."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from figures import RGB, Curve, Disc, Drawing, Figure, Polygon, Ring, geometry
from PIL import Image, ImageDraw

FINE = 4  # supersampling


def pillow(drawing: Drawing, scale: int = 1) -> Image.Image:
    """Pillow's ImageDraw as it is: edges without anti-aliasing."""
    picture = _ground(drawing, scale)
    pen = ImageDraw.Draw(picture)
    for figure in drawing.figures:
        shape, line = geometry(figure), figure.outline * scale
        outline = figure.ink if line else None
        match shape:
            case Disc((x, y), r):
                box = [scale * v for v in (x - r, y - r, x + r, y + r)]
                pen.ellipse(box, fill=figure.colour, outline=outline, width=line)
            case Ring((x, y), r, width):
                r += width / 2
                box = [scale * v for v in (x - r, y - r, x + r, y + r)]
                pen.ellipse(box, outline=figure.colour, width=round(scale * width))
            case Polygon() | Curve():
                points = shape.points if isinstance(shape, Polygon) else shape.flat()
                scaled = [(scale * x, scale * y) for x, y in points]
                pen.polygon(scaled, fill=figure.colour)
                if line:
                    pen.line([*scaled, *scaled[:2]], fill=figure.ink, width=line, joint="curve")
    return picture


def pillow_fine(drawing: Drawing) -> Image.Image:
    """Pillow at four times the size, scaled down."""
    if drawing.hard:
        return pillow(drawing)
    return pillow(drawing, FINE).resize(drawing.size, Image.Resampling.BOX)


def svg(drawing: Drawing) -> Image.Image:
    """An SVG file, rendered by resvg."""
    import resvg_py

    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg_text(drawing))))).convert("RGB")


def svg_text(drawing: Drawing) -> str:
    """The drawing as an SVG document."""
    (w, h), fill = drawing.size, _hex(drawing.ground[0])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}"'
        + (' shape-rendering="crispEdges">' if drawing.hard else ">")
    ]
    if len(drawing.ground) == 2:
        top, low = map(_hex, drawing.ground)
        parts.append(
            f'<linearGradient id="g" x1="0" y1="0" x2="0" y2="1"><stop offset="0" stop-color="{top}"/>'
            f'<stop offset="1" stop-color="{low}"/></linearGradient>'
        )
        fill = "url(#g)"
    parts.append(f'<rect width="{w}" height="{h}" fill="{fill}"/>')
    parts += map(_svg_figure, drawing.figures)
    return "".join([*parts, "</svg>"])


def _svg_figure(figure: Figure) -> str:
    look = f'fill="{_hex(figure.colour)}"'
    if figure.outline:
        look += f' stroke="{_hex(figure.ink)}" stroke-width="{figure.outline}"'
    match geometry(figure):
        case Disc((x, y), r):
            return f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{r:.2f}" {look}/>'
        case Ring((x, y), r, width):
            stroke = f'fill="none" stroke="{_hex(figure.colour)}" stroke-width="{width:.2f}"'
            return f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{r:.2f}" {stroke}/>'
        case Polygon(points):
            return f'<polygon points="{" ".join(f"{x:.2f},{y:.2f}" for x, y in points)}" {look}/>'
        case Curve((x, y), pieces):
            path = " ".join("C" + " ".join(f"{a:.2f},{b:.2f}" for a, b in piece) for piece in pieces)
            return f'<path d="M{x:.2f},{y:.2f} {path} Z" {look}/>'


def matplotlib(drawing: Drawing) -> Image.Image:
    """Patches of matplotlib, drawn by its Agg backend."""
    from matplotlib import patches
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Sheet
    from matplotlib.path import Path

    w, h = drawing.size
    sheet = Sheet(figsize=(w / 100, h / 100), dpi=100)
    canvas = FigureCanvasAgg(sheet)
    axes = sheet.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, w), ylim=(h, 0))
    axes.axis("off")
    sheet.set_facecolor(_unit(drawing.ground[0]))
    if len(drawing.ground) == 2:
        axes.imshow(np.asarray(_ground(drawing)), extent=(0, w, h, 0), aspect="auto", interpolation="nearest")
    for figure in drawing.figures:
        line = figure.outline * 72 / 100
        look = {"facecolor": _unit(figure.colour), "antialiased": not drawing.hard, "linewidth": line}
        look["edgecolor"] = _unit(figure.ink) if line else "none"
        match geometry(figure):
            case Disc(centre, r):
                patch = patches.Circle(centre, r, **look)
            case Ring(centre, r, width):
                patch = patches.Annulus(centre, r + width / 2, width, **look)
            case Polygon(points):
                patch = patches.Polygon(points, closed=True, joinstyle="miter", **look)
            case Curve(start, pieces):
                points = [start, *(point for piece in pieces for point in piece)]
                patch = patches.PathPatch(
                    Path(points, [Path.MOVETO] + [Path.CURVE4] * (len(points) - 1)), **look
                )
        axes.add_patch(patch)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def skia(drawing: Drawing) -> Image.Image:
    """Skia, the drawing library of browsers."""
    import skia as lib

    w, h = drawing.size
    pixels = np.zeros((h, w, 4), np.uint8)
    canvas = lib.Canvas(pixels, colorType=lib.kRGBA_8888_ColorType)
    ground = lib.Paint(Color=lib.Color(*drawing.ground[0]))
    if len(drawing.ground) == 2:
        ends = [lib.Point(0, 0), lib.Point(0, h)]
        colours = [lib.Color(*rgb) for rgb in drawing.ground]
        ground.setShader(lib.GradientShader.MakeLinear(ends, colours))
    canvas.drawPaint(ground)
    for figure in drawing.figures:
        path = lib.Path()
        stroke = 0.0
        match geometry(figure):
            case Disc((x, y), r):
                path.addCircle(x, y, r)
            case Ring((x, y), r, stroke):
                path.addCircle(x, y, r)
            case Polygon(points):
                path.addPoly([lib.Point(*point) for point in points], True)
            case Curve(start, pieces):
                path.moveTo(*start)
                for a, b, end in pieces:
                    path.cubicTo(*a, *b, *end)
                path.close()
        paint = lib.Paint(AntiAlias=not drawing.hard, Color=lib.Color(*figure.colour))
        if stroke:
            paint.setStyle(lib.Paint.kStroke_Style)
            paint.setStrokeWidth(stroke)
        canvas.drawPath(path, paint)
        if figure.outline:
            pen = lib.Paint(AntiAlias=not drawing.hard, Color=lib.Color(*figure.ink))
            pen.setStyle(lib.Paint.kStroke_Style)
            pen.setStrokeWidth(figure.outline)
            canvas.drawPath(path, pen)
    return Image.fromarray(pixels[..., :3].copy())


def aggdraw(drawing: Drawing) -> Image.Image:
    """Aggdraw: anti-aliased drawing on Pillow's pictures."""
    import aggdraw as lib

    picture = _ground(drawing)
    pen = lib.Draw(picture)
    pen.setantialias(not drawing.hard)
    for figure in drawing.figures:
        brush = lib.Brush(figure.colour)
        line = lib.Pen(figure.ink, figure.outline) if figure.outline else None
        match geometry(figure):
            case Disc((x, y), r):
                pen.ellipse((x - r, y - r, x + r, y + r), line, brush)
            case Ring((x, y), r, width):
                pen.ellipse((x - r, y - r, x + r, y + r), lib.Pen(figure.colour, width))
            case Polygon(points):
                pen.polygon([v for point in points for v in point], line, brush)
            case Curve() as curve:
                pen.polygon([v for point in curve.flat() for v in point], line, brush)
    pen.flush()
    return picture


def _ground(drawing: Drawing, scale: int = 1) -> Image.Image:
    w, h = (scale * side for side in drawing.size)
    if len(drawing.ground) == 1:
        return Image.new("RGB", (w, h), drawing.ground[0])
    top, low = (np.asarray(rgb, float) for rgb in drawing.ground)
    down = (np.arange(h) + 0.5)[:, None, None] / h
    rows = np.rint(top + (low - top) * down).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(rows, (h, w, 3))))


def _hex(rgb: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def _unit(rgb: RGB) -> tuple[float, ...]:
    return tuple(v / 255 for v in rgb)


PROGRAMS: dict[str, Callable[[Drawing], Image.Image]] = {
    "pillow": pillow,
    "pillow, 4x": pillow_fine,
    "svg, resvg": svg,
    "matplotlib": matplotlib,
    "skia": skia,
    "aggdraw": aggdraw,
}
