"""The table of which kind of model runs which method, derived from the code: `scumble models --table`."""

from __future__ import annotations

EQUAL = {  # what a test compares with the published pipeline (tests/parity), by kind of model
    "sampling": (
        "SD 1.x / 2.x",
        "SDXL",
        "SD 3 / 3.5",
        "FLUX.1 dev",
        "FLUX.1 schnell",
        "FLUX.2 dev",
        "FLUX.2 klein base",
        "FLUX.2 klein",
        "PixArt",
        "Sana",
        "Qwen-Image",
        "Z-Image",
    ),
    "sdedit": ("SD 1.x / 2.x",),
    "diffedit": ("SD 1.x / 2.x",),
}


def reasons(refused: dict[str, str]) -> list[str]:
    """What `abilities` says of refusals, a line for each method and reason: "p2p on PixArt, Sana: ..."."""
    found: dict[tuple[str, str], list[str]] = {}
    for pair, why in refused.items():
        method, _, kind = pair.partition(", ")
        plain = why.removeprefix("prior: ").partition(" ")[2].replace(f"{kind!r}", "it")
        found.setdefault((method, plain), []).append(kind)
    return [f"{method} on {', '.join(kinds)}: {why}" for (method, why), kinds in found.items()]


def abilities() -> tuple[list[tuple[str, ...]], dict[str, str]]:
    """The table's rows, header first: "runs", "equal" (to a pipeline, tested), "given" (with something that was
    trained for exactly that model) or "-"; and for each "method, kind" that does not run the reason, one sentence.
    """
    from scumble.core.job import unable
    from scumble.editing.checks import method_class
    from scumble.methods import METHODS, SAMPLING
    from scumble.priors._card import kinds

    cards = kinds()
    rows: list[tuple[str, ...]] = [("method", *cards)]
    refused: dict[str, str] = {}
    for name in sorted({**METHODS, **SAMPLING}):
        cells, kind_of = list[str](), method_class(name)
        for kind, card in cards.items():
            why = unable(kind_of.__name__, kind_of.needs, card)
            if why:
                refused[f"{name}, {kind}"] = why
            own = kind_of.prepares.name if kind_of.prepares else ""
            trained = bool({*kind_of.needs.given} - {own})
            can = "equal" if kind in EQUAL.get(name, ()) else "given" if trained else "runs"
            cells.append("-" if why else can)
        rows.append((name, *cells))
    return rows, refused
