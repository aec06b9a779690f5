"""Whether a network of Stable Diffusion 1.5's size fits: random weights, 512 pixels, float16, under 8 and 12 GB.

Random weights paint noise, so nothing is said about pictures; time and memory are those of trained ones. Each row
runs in a process of its own, whose share of the accelerator's memory is capped. Without an accelerator nothing is
measured.

    python benchmarks/full_size.py [--steps 50] [--side 512]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from scumble.core.errors import MachineError
from scumble.core.noise import Noise
from scumble.core.prior import Card
from scumble.core.request import EditRequest, Method
from scumble.methods.dds import DDS
from scumble.methods.sdedit import SDEdit
from scumble.priors._card import latent_card
from scumble.priors._memory import Desk
from scumble.priors._parts import quiet
from scumble.priors._single_file import CONFIGS
from scumble.priors.stable_diffusion import StableDiffusionPrior

CAPS = (8, 12)  # GB
METHODS = {"dds": lambda steps: DDS(steps=steps), "sdedit": lambda steps: SDEdit(steps=steps, strength=0.5)}
SETTINGS: Sequence[tuple[str, ...]] = ((), ("slicing",), ("offload",), ("sequential",))


def random_prior(
    configs: Path, device: torch.device, dtype: torch.dtype, memory: Sequence[str] = ()
) -> StableDiffusionPrior:
    """A prior of the shape that the configs say; its tokenizer reads letters."""
    read = {
        part: json.loads((configs / part / "config.json").read_text())
        for part in ("unet", "vae", "text_encoder")
    }
    letters = [chr(code) for code in range(33, 127)]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    limit = read["text_encoder"]["max_position_embeddings"]
    tokenizer = CLIPTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=limit
    )
    desk = Desk(device, memory)
    makers: dict[str, Any] = {
        "unet": UNet2DConditionModel.from_config,
        "vae": AutoencoderKL.from_config,
        "text_encoder": lambda config: CLIPTextModel(CLIPTextConfig(**config)),
    }
    parts: dict[str, Any] = {}
    for part, make in makers.items():
        with desk.home:
            module = make(read[part])
        with quiet():
            parts[part] = module.to(desk.home, dtype).eval().requires_grad_(False)
    desk.prepare(**parts)
    card = Card(id="random", hash="", **latent_card(read["unet"], read["vae"]))
    scheduler = json.loads((configs / "scheduler/scheduler_config.json").read_text())
    return StableDiffusionPrior(
        **parts, tokenizer=tokenizer, scheduler=scheduler, card=lambda: card, desk=desk
    )


def edit(prior: StableDiffusionPrior, method: Method, side: int) -> tuple[float, int]:
    """(seconds, evaluations) of one edit of noise."""
    image = Noise(0).like(torch.empty(1, 3, side, side)).clamp(-1, 1)
    request = EditRequest(image=image, source="a cat", target="a dog")
    started = time.perf_counter()
    made = method(prior, request)
    made.raw.sum().item()  # waits for the device
    return time.perf_counter() - started, made.evaluations


def row(cap: int, method: str, memory: tuple[str, ...], steps: int, side: int) -> str:
    """One row of the table, measured in this process."""
    device = torch.device("cuda")
    torch.cuda.set_per_process_memory_fraction(
        min(1.0, cap * 1e9 / torch.cuda.get_device_properties(device).total_memory)
    )
    head = f"| {cap} GB | {method} | {', '.join(memory) or 'none'} |"
    try:
        prior = random_prior(CONFIGS / "sd1", device, torch.float16, memory)
        edit(prior, METHODS[method](2), side)  # warms up
        torch.cuda.reset_peak_memory_stats()
        seconds, evaluations = edit(prior, METHODS[method](steps), side)
    except (MachineError, torch.OutOfMemoryError):
        return f"{head} out of memory | | |"
    peak = torch.cuda.max_memory_allocated() / 1e9
    return f"{head} {seconds:.1f} | {1000 * seconds / evaluations:.0f} | {peak:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--side", type=int, default=512)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("not measured: there is no CUDA device here")
        return
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.side} px, {options.steps} steps\n"
    )
    print("| cap | method | memory | seconds | ms per evaluation | peak GB |")
    print("|---|---|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for cap in CAPS:
        for method in METHODS:
            for memory in SETTINGS:
                with context.Pool(1) as pool:
                    print(pool.apply(row, (cap, method, memory, options.steps, options.side)), flush=True)


if __name__ == "__main__":
    main()
