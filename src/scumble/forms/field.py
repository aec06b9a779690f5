"""A picture as a coordinate network: place -> colour, at any resolution (Mildenhall et al. 2020, in the plane)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from scumble.core.noise import Noise
from scumble.core.prior import Prior
from scumble.core.types import Image, Latent
from scumble.loops.optimizers import Adam, State

RATE = 0.03  # of the fit's first step; it falls to 0


@dataclass(frozen=True, eq=False)
class NeuralField:
    """theta (b, p) holds the weights of one small network per picture, which maps sines and cosines of a position to a
    colour.

    `image` (1, 3, H, W) is the start: `start` fits the network to it in `fit` steps of Adam, with initial weights
    drawn from `seed`. Each of the `octaves` doubles the finest frequency. The rate of a latent does not suit weights:
    use "normalized" steps of about 4e-4. Adam uses one step size for all weights and carries the noise of the score
    everywhere.
    """

    prior: Prior
    image: Image
    hidden: int = 64
    octaves: int = 6
    fit: int = 500
    seed: int = 0

    def start(self, x: Latent) -> Tensor:
        """Weights of networks that reproduce the image as closely as the fit allows; one row for each of x (b, c, h,
        w).
        """
        wanted, state, rule = self.image.to(x), State(), Adam()
        theta = self._drawn().to(x)
        for k in range(1, self.fit + 1):
            with torch.enable_grad():
                leaf = theta.requires_grad_()
                off = (self.picture(leaf) - wanted).square().mean()
                (grad,) = torch.autograd.grad(off, leaf)
            step, state = rule(grad, k, state)
            theta = theta.detach() - RATE * (1 - (k - 1) / self.fit) * step
        return theta.expand(len(x), -1)

    def __call__(self, theta: Tensor) -> Latent:
        return self.prior.encode(self.picture(theta))

    def picture(self, theta: Tensor, size: tuple[int, int] | None = None) -> Image:
        """The pictures (b, 3, H, W) of the networks, at any size (H, W) (default: the image's); not clamped."""
        height, width = size or (self.image.shape[-2], self.image.shape[-1])
        h = self._seen(height, width).to(theta).expand(len(theta), -1, -1)
        *inner, (weight, bias) = self._layers(theta)
        for inner_weight, inner_bias in inner:
            h = torch.relu(h @ inner_weight + inner_bias)
        return (h @ weight + bias).transpose(1, 2).reshape(len(theta), 3, height, width)

    def _shapes(self) -> list[tuple[int, int]]:
        return [(2 + 4 * self.octaves, self.hidden), (self.hidden, self.hidden), (self.hidden, 3)]

    def _layers(self, theta: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(weight (b, in, out), bias (b, 1, out)) of every layer."""
        first = 0
        for rows, columns in self._shapes():
            middle, last = first + rows * columns, first + (rows + 1) * columns
            yield theta[:, first:middle].unflatten(1, (rows, columns)), theta[:, None, middle:last]
            first = last

    def _drawn(self) -> Tensor:
        """First weights (1, p): normal, of variance 2 / in; biases 0."""
        noise = Noise(self.seed)
        parts: list[Tensor] = []
        for rows, columns in self._shapes():
            weight = noise.like(torch.empty(1, 1, rows, columns, dtype=torch.float32)) * math.sqrt(2 / rows)
            parts += [weight.flatten(1), torch.zeros(1, columns, dtype=torch.float32)]
        return torch.cat(parts, dim=1)

    def _seen(self, height: int, width: int) -> Tensor:
        """The network's inputs at the centre of every pixel: (1, H * W, 2 + 4 octaves)."""
        sides = [(2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1 for n in (height, width)]
        places = torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1).reshape(-1, 2, 1)
        angles = places * math.pi / 2 * 2 ** torch.arange(self.octaves, dtype=torch.float64)
        return torch.cat([places, angles.sin(), angles.cos()], dim=2).flatten(1)[None]
