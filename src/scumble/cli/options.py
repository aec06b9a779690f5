"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="A parameter of the method; `scumble methods dds` lists them."
    ),
]
Given = Annotated[
    list[str] | None,
    typer.Option(
        "--given",
        metavar="NAME=FILE",
        help="What was prepared before: inversion=IN.inv from scumble invert; or direction=cat,dog, two words or "
        "two files or folders of sentences.",
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="`scumble methods` lists them; ./file.py:Class runs your own.  \\[default: what the model's card "
        "names (of scenes: dds_fast), else dds]",
    ),
]
Source = Annotated[str, typer.Option("--source", help="What the picture shows now.")]
Negative = Annotated[str, typer.Option("--negative", help="What it shall not show.")]
MaskFile = Annotated[
    Path | None,
    typer.Option("--mask", help="A picture of the same size: white may change, black stays exactly."),
]
Keep = Annotated[
    str,
    typer.Option(
        "--keep",
        metavar="auto|none|0.1",
        help="What hardly changed stays the input's own pixels, exactly; none: the model's picture everywhere.",
    ),
]
Crop = Annotated[
    str,
    typer.Option(
        "--crop",
        metavar="auto|none",
        help="Edit only the part around a small mask, enlarged; the prompts then describe that part.",
    ),
]
Form = Annotated[
    str,
    typer.Option(
        "--as", metavar="latent|lut", help="lut: only colours change, by one curve; nothing can move."
    ),
]
Size = Annotated[
    int | None, typer.Option("--size", help="Long side in pixels that the model works at; default: its own.")
]
Paper = Annotated[
    bool, typer.Option("--paper", help="The values of the method's paper, not those the model recommends.")
]
Force = Annotated[bool, typer.Option("--force", help="Try words that the model does not know.")]

Model = Annotated[
    str,
    typer.Option(
        "--model",
        envvar="SCUMBLE_MODEL",
        help='"scenes" (built in), a checkpoint folder or file, or the id of one on the hub.',
    ),
]
Device = Annotated[
    str, typer.Option("--device", help="Where to compute: cpu, an accelerator, or the best there is.")
]
Dtype = Annotated[
    str, typer.Option("--dtype", help="Of the network calls: auto, float32, float16, bfloat16.")
]
Revision = Annotated[
    str | None, typer.Option("--revision", help="A branch, tag or commit of a model on the hub.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Download nothing.")]
Lora = Annotated[
    list[str] | None,
    typer.Option("--lora", metavar="FILE[:WEIGHT]", help="Low-rank weights for the model; repeats."),
]
Memory = Annotated[
    list[str] | None,
    typer.Option(
        "--memory",
        metavar="NAME",
        help="Take less memory and more time: slicing, tiling, offload, sequential; repeats.",
    ),
]

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what -o names; never the input.")]
NoMetadata = Annotated[
    bool, typer.Option("--no-metadata", help="Do not write into the file how it was made.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per result on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but warnings and errors.")]
