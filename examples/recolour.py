"""Recolouring by Delta Denoising Score: a table of colours moves, so that nothing can change its place.

Usage:

    python examples/recolour.py --out recoloured

writes source.png and edited.png, recoloured at its own 512 px though the model sees less, and other.png and
other_edited.png: another scene through the same table, without the model.
"""

import argparse
from pathlib import Path

from PIL import Image

import scumble
from scumble.core.pixels import to_images
from scumble.forms.lut import LUT
from scumble.scenes.render import render
from scumble.scenes.world import Scene, Thing

SOURCE = "a red circle on a white background"
TARGET = "a blue circle on a white background"


def scene(*places):
    things = [Thing(shape="circle", colour="red", size="large", place=place) for place in places]
    return Scene(things=tuple(things), background="white")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("recoloured"), help="the folder to write to")
    parser.add_argument("--model", default="scenes", help="a model's name or folder")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    prior = scumble.load(args.model)
    image = to_images([render(scene("centre"), prior.card.size)])
    table = LUT(prior, image)
    guidance = prior.card.recommended.get("dds", {}).get("guidance", 7.5)
    request = scumble.EditRequest(
        image=image,
        source=SOURCE,
        target=TARGET,
        seed=args.seed,
        given={"parametrization": table},
        keep=("theta",),
    )
    method = scumble.DDS(steps=args.steps, guidance=guidance)
    edit = method(prior, request, lambda step: print(f"\rstep {step.k} of {step.n}", end="", flush=True))

    theta = edit.kept["theta"]
    for name, places in {"": ("centre",), "other": ("left", "right")}.items():
        picture = Image.fromarray(render(scene(*places), 512))
        picture.save(args.out / f"{name or 'source'}.png")
        table.recolour(theta, picture).save(args.out / f"{name + '_' if name else ''}edited.png")
    print(f'\n"{SOURCE}" became "{TARGET}": {args.out}/edited.png, and another scene by the same table')


if __name__ == "__main__":
    main()
