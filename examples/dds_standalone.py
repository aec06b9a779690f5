"""Delta Denoising Score (Hertz, Aberman & Cohen-Or 2023, arXiv:2304.07090) on one page, without the library.

The authors' zero-shot editing, for any Stable Diffusion shaped folder that predicts eps or v. A test holds it
equal to scumble.DDS. Usage:

    python examples/dds_standalone.py MODEL in.png out.png --source "photo of a cat" --target "photo of a dog"
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image, ImageOps
from transformers import CLIPTextModel, CLIPTokenizer


class Model:
    """The parts of a Stable Diffusion."""

    def __init__(self, folder, device="cpu"):
        def load(part, cls):
            return cls.from_pretrained(folder, subfolder=part, use_safetensors=True).to(device).float().eval()

        self.device = device
        self.unet = load("unet", UNet2DConditionModel)
        self.vae = load("vae", AutoencoderKL)
        self.text_encoder = load("text_encoder", CLIPTextModel)
        self.tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
        scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
        self.abar = scheduler.alphas_cumprod
        self.predicts_v = scheduler.config.prediction_type == "v_prediction"

    def embed(self, prompts):
        """Prompts -> tokens (b, L, D)."""
        ids = self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return self.text_encoder(ids.to(self.device))[0]

    def encode(self, image):
        """(1, 3, H, W) in [-1, 1] -> the posterior's mean (1, 4, h, w), scaled."""
        return self.vae.encode(image.to(self.device)).latent_dist.mean * self.vae.config.scaling_factor

    def decode(self, z):
        return self.vae.decode(z / self.vae.config.scaling_factor).sample


@torch.no_grad()
def dds(model, image, source, target, *, steps=200, guidance=7.5, rate=2000 * 0.1 / 64**2, seed=0):
    """The edited latent. `rate` is the notebook's step 0.1 * 2000 / (H * W) at its 64x64 latents."""
    noise = torch.Generator("cpu").manual_seed(seed)
    text = model.embed(["", "", source, target])
    z_source = z = model.encode(image)
    for _ in range(steps):
        t = torch.randint(50, 949, (1,), generator=noise)
        eps = torch.randn(z.shape, generator=noise).to(z)
        alpha, sigma = model.abar[t].sqrt().to(z), (1 - model.abar[t]).sqrt().to(z)

        # The same time and noise on both branches; one call for both prompts, with and without text.
        z_t = (alpha * torch.cat([z_source, z]) + sigma * eps).repeat(2, 1, 1, 1)
        out = model.unet(z_t, t.to(z.device), text).sample
        if model.predicts_v:
            out = alpha * out + sigma * z_t
        null, conditional = out.chunk(2)
        eps_source, eps_target = (null + guidance * (conditional - null)).chunk(2)
        z = z - rate * (eps_target - eps_source)
    return z


def read(path, size):
    """The middle square of a picture -> (1, 3, size, size) in [-1, 1]."""
    picture = ImageOps.fit(ImageOps.exif_transpose(Image.open(path)).convert("RGB"), (size, size))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 127.5 - 1


def write(path, image):
    pixels = ((image[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    Image.fromarray(pixels.cpu().numpy()).save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="a diffusers folder")
    parser.add_argument("image", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--source", required=True, help="what the picture shows")
    parser.add_argument("--target", required=True, help="what it shall show")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()

    model = Model(args.model, args.device)
    size = model.unet.config.sample_size * 2 ** (len(model.vae.config.block_out_channels) - 1)
    settings = {"steps": args.steps, "guidance": args.guidance, "seed": args.seed}
    z = dds(model, read(args.image, size), args.source, args.target, **settings)
    with torch.no_grad():
        write(args.output, model.decode(z))


if __name__ == "__main__":
    main()
