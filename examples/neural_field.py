"""A picture as a small neural network, edited by Delta Denoising Score: its weights move, no pixel does.

The network says the colour of any place, so that the edited picture has any resolution. Usage:

    python examples/neural_field.py --out field

writes source.png (the network's picture), edited.png, and edited_large.png, painted by the same network at four
times the size.
"""

import argparse
from pathlib import Path

from PIL import Image

import scumble
from scumble.core.pixels import to_images, to_pixels
from scumble.forms.field import NeuralField
from scumble.scenes.render import render
from scumble.scenes.world import Scene, Thing

SOURCE = "a red circle on a white background"
TARGET = "a blue circle on a white background"


def save(image, path):
    """The first picture of (b, 3, H, W)."""
    Image.fromarray(to_pixels(image)[0]).save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("field"), help="the folder to write to")
    parser.add_argument("--model", default="scenes", help="a model's name or folder")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    prior = scumble.load(args.model)
    size = prior.card.size
    scene = Scene(things=(Thing(shape="circle", colour="red", size="large"),), background="white")
    image = to_images([render(scene, size)])

    field = NeuralField(prior, image)
    theta = field.start(prior.encode(image))  # the weights of a network that paints the scene
    save(field.picture(theta), args.out / "source.png")

    # Weights do not know the pace of latents: steps of one length, which keep the gradient's proportions.
    guidance = prior.card.recommended.get("dds", {}).get("guidance", 7.5)
    method = scumble.DDS(steps=args.steps, rate=4e-4, optimizer="normalized", guidance=guidance)
    request = scumble.EditRequest(
        image=image,
        source=SOURCE,
        target=TARGET,
        seed=args.seed,
        given={"parametrization": field},
        keep=("theta",),
    )
    edit = method(prior, request, lambda step: print(f"\rstep {step.k} of {step.n}", end="", flush=True))
    save(edit.raw, args.out / "edited.png")
    save(field.picture(edit.kept["theta"], (4 * size, 4 * size)), args.out / "edited_large.png")
    print(f'\n"{SOURCE}" became "{TARGET}": {args.out}/edited.png, and the same network at {4 * size} px')


if __name__ == "__main__":
    main()
