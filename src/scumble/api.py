"""One edit from a picture and words: prior + canvas + method, below every surface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from scumble.editing.checks import (
    check_codec,
    check_form,
    check_loading,
    check_model,
    check_prompts,
    check_seed,
    check_settings,
    check_words,
    method_class,
)
from scumble.editing.passport import versions as versions

if TYPE_CHECKING:
    from scumble.core.prior import Card, Prior
    from scumble.core.request import Edit, Method, OnStep
    from scumble.editing.plan import Origin, Plan
    from scumble.pictures.reading import PictureLike


class Loading(TypedDict, total=False):
    """The options of `load`."""

    device: str
    dtype: str
    revision: str | None
    offline: bool
    lora: Sequence[str]
    memory: Sequence[str]


def load(
    model: str | Path = "scenes",
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    offline: bool = False,
    lora: Sequence[str] = (),
    memory: Sequence[str] = (),
) -> Prior:
    """A prior by name: "scenes" (built in), a checkpoint folder or file, or the id of one on the model hub.

    Args:
        device: where to compute: "cpu", an accelerator's name, or "auto" for the best there is.
        dtype: of the network calls: "float32", "float16", "bfloat16", or "auto" for what the device does best.
        revision: a branch, tag or commit of the hub.
        offline: use what is there already; download nothing.
        lora: files of low-rank weights, each with ":0.8" behind its name for another weight than 1.
        memory: what trades time for memory: any of "slicing", "tiling", "offload", "sequential".

    Raises:
        InputError: no such model, a checkpoint that we cannot drive, with a missing part or pickled weights.
        MachineError: it cannot be fetched, or does not fit into memory.
    """
    from scumble.priors.load import load_prior

    return load_prior(
        str(model), device=device, dtype=dtype, revision=revision, offline=offline, lora=lora, memory=memory
    )


def usual_method(model: str | Path | Prior) -> str:
    """What edits with a model where no method is named: what its card names, else "dds". Loads nothing."""
    if not isinstance(model, str | Path):
        return model.card.method
    from scumble.priors import load

    return load.usual_method(str(model)) or "dds"


def edit(
    image: PictureLike,
    *,
    source: str | None = None,
    target: str | None = None,
    method: str | Method | None = None,
    model: str | Path | Prior = "scenes",
    mask: PictureLike | None = None,
    negative: str = "",
    seed: int = 0,
    settings: Mapping[str, object] | None = None,
    given: Mapping[str, object] | None = None,
    keep: str | float = "auto",
    crop: str = "auto",
    form: str = "latent",
    size: int | None = None,
    paper: bool = False,
    force: bool = False,
    on_step: OnStep | None = None,
) -> Edit:
    """Edit a picture: it shows `source`, it shall show `target`.

    Args:
        image: a path, a PIL image or a uint8 array, of any size; see `scumble.pictures`.
        method: a name ("dds"), which takes the values that the model's card recommends; an instance
            (`scumble.DDS(steps=100)`), which is taken literally; or "./file.py:Class", which runs that file.
            None: the one that the model's card names (of "scenes": "dds_fast"), else "dds".
        model: what `load` takes, or a prior.
        mask: white may change, black stays exactly as it is; of the picture's size.
        settings: values for a method given by name, above the card's and the method's own.
        given: what was prepared before, such as {"inversion": ...} from `scumble invert`; see
            `scumble.artifacts`.
        keep: "auto": what hardly changed stays the input's own pixels, exactly; a number from 0 to 2: so does
            what changed by less (colours have a range of 2); "none": the method's own picture everywhere.
        crop: "auto": where the mask is small, edit only the part around it, at the model's full resolution; the
            prompts then describe that part. "none": always the whole picture.
        form: "latent": any change; "lut": only colours change, through one curve for the whole picture, so
            that nothing can move (for methods that optimise).
        size: pixels of the long side that the model works at; None: what it was made for.
        paper: take the method's own values, those of its paper, and not the card's recommended ones.
        force: try words that the model does not know.
        on_step: called after every step; raise `scumble.Cancelled` from it to stop.

    Returns:
        Edit: `picture` has the input's size, `layer` is what lies over the input, `raw` the method's own
        picture; `provenance` says how it was made, value by value.

    Raises:
        InputError: anything about the input that cannot be used, in one sentence.
        MachineError: the memory does not suffice, or a model cannot be fetched.
    """
    return plan(
        image, source=source, target=target, method=method, model=model, mask=mask, negative=negative,
        seed=seed, settings=settings, given=given, keep=keep, crop=crop, form=form, size=size, paper=paper, force=force,
    )(on_step)  # fmt: skip


def plan(
    image: PictureLike,
    *,
    source: str | None = None,
    target: str | None = None,
    method: str | Method | None = None,
    model: str | Path | Prior = "scenes",
    mask: PictureLike | None = None,
    negative: str = "",
    seed: int = 0,
    settings: Mapping[str, object] | None = None,
    given: Mapping[str, object] | None = None,
    keep: str | float = "auto",
    crop: str = "auto",
    form: str = "latent",
    size: int | None = None,
    paper: bool = False,
    force: bool = False,
    **loading: Unpack[Loading],
) -> Plan:
    """What `edit` does before the first step: check what is cheap, load the model, check the rest.

    Arguments and errors are those of `edit` and, for a model that is not loaded yet, of `load`.
    """
    from scumble.editing.plan import Manner, Plan
    from scumble.pictures import canvas, reading

    manner = Manner(keep=keep, crop=crop, form=form, size=size, paper=paper, force=force)
    check_seed(seed)
    picture = reading.read(image)
    drawn = None if mask is None else reading.read_mask(mask, picture.size)
    method = usual_method(model) if method is None else method
    kind = method_class(method) if isinstance(method, str) else type(method)
    check_settings(method, kind, settings or {})
    name = method if isinstance(method, str) else kind.__name__
    check_prompts(name, kind.needs, source, target, mask)
    check_form(name, kind, form)

    from scumble.core.machine import limits
    from scumble.core.request import EditRequest  # imports torch, so only now

    prior = load(model, **loading) if isinstance(model, str | Path) else check_loading(model, loading)
    card = prior.card
    shown = target or (source if given else None)  # what is given may say what to show
    check_model(card, name, kind.needs, shown)
    check_words(card, [source or "", target or "", negative], force)
    chosen, origins = choose(method, kind, card, settings or {}, paper)
    long_side = size or card.size
    box = canvas.crop_box(drawn.values, picture.size, long_side) if drawn and crop == "auto" else None
    part, part_mask = canvas.crop(picture, drawn, box) if drawn and box else (picture, drawn)
    fit = canvas.Fit.of(part.size, long_side, card.multiple)
    on_canvas = canvas.to_canvas(part, fit)
    with limits(getattr(prior, "loaded", {}).get("device", "cpu")):
        before = check_codec(prior, on_canvas, picture.name)
    request = EditRequest(
        image=on_canvas,
        source=source or None,
        target=target or None,
        negative=negative,
        mask=part_mask and canvas.mask_to_canvas(part_mask.values, fit),
        seed=seed,
        given=given or {},
    )
    return Plan(
        prior=prior, name=name, method=chosen, origins=origins, manner=manner, picture=picture, mask=drawn,
        box=box, part=part, part_mask=part_mask, fit=fit, before=before, request=request,
    )  # fmt: skip


def choose(
    method: str | Method, kind: type[Any], card: Card, settings: Mapping[str, object], paper: bool = False
) -> tuple[Method, dict[str, Origin]]:
    """The method with its values, user over card (unless `paper`) over method, and where each came from."""
    if not isinstance(method, str):
        return method, {f.name: "user" for f in fields(kind)}
    told = {} if paper else card.recommended.get(method, {})
    recommended = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
    origins = {
        f.name: "user" if f.name in settings else "card" if f.name in recommended else "method"
        for f in fields(kind)
    }
    return kind(**{**recommended, **settings}), origins
