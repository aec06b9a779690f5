"""Noise schedules: the only code that turns a time into numbers. x_t = alpha_t x0 + sigma_t eps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.grids import Spacing, pairs, respace, spaced
from scumble.core.prediction import OUTPUTS, Output, Prediction
from scumble.core.types import Coef, Latent, Pair, Time
from scumble.core.warp import Warp

Variance = Literal["fixed_small", "fixed_large", "learned_range"]


def _safe_inverse(c: Coef) -> Coef:
    return torch.where(c > 0, 1 / c, 0.0)


@dataclass(frozen=True, eq=False)
class Schedule:
    """alpha and sigma of every time, the conversions between what networks output, and the grids of the
    loops.

    With `abar`, the (T,) float64 table of cumulative alphas on the CPU, it is a variance-preserving chain (Ho
    et al. 2020): times are 0..T-1, -1 is the clean level (1, 0) and T pure noise (0, 1). Without, it is the
    rectified flow alpha = 1 - t/T, sigma = t/T (Liu et al. 2022): any time in [0, T], 0 is clean and T pure
    noise.

    `prediction` is what the network outputs; `spacing`, `offset` and `last` are the checkpoint's own grid
    (`last`: the level its last step goes to, 0 for Stable Diffusion); `rescale` tells the network t * 1000 /
    T. `warp` is the time shift of a flow's grid (`on` fits it to a canvas); None cuts it evenly.
    """

    abar: Tensor | None
    T: int = 1000
    prediction: Output = "eps"
    spacing: Spacing = "leading"
    offset: int = 0
    last: float | None = None
    rescale: bool = False
    warp: Warp | None = None

    # Makers

    @classmethod
    def from_betas(cls, betas: Tensor | Sequence[float], **settings: Any) -> "Schedule":
        """The chain of the given betas (T,), each in (0, 1]."""
        table = torch.as_tensor(betas, dtype=torch.float64, device="cpu")
        if table.ndim != 1 or not bool(((table > 0) & (table <= 1)).all()):
            raise InputError(
                "betas: expected a list of numbers in (0, 1]; check the checkpoint's scheduler config"
            )
        return cls(torch.cumprod(1 - table, 0), len(table), **settings)

    @classmethod
    def linear(cls, T: int = 1000, start: float = 1e-4, end: float = 0.02, **settings: Any) -> "Schedule":
        """Ho et al. 2020: betas evenly spaced."""
        return cls.from_betas(torch.linspace(start, end, T, dtype=torch.float64), **settings)

    @classmethod
    def scaled_linear(
        cls, T: int = 1000, start: float = 0.00085, end: float = 0.012, **settings: Any
    ) -> "Schedule":
        """Rombach et al. 2022: square roots of betas evenly spaced."""
        return cls.from_betas(torch.linspace(start**0.5, end**0.5, T, dtype=torch.float64) ** 2, **settings)

    @classmethod
    def cosine(cls, T: int = 1000, **settings: Any) -> "Schedule":
        """Nichol & Dhariwal 2021, eq. 17, with betas capped at 0.999."""
        u = torch.arange(T + 1, dtype=torch.float64) / T
        abar = torch.cos((u + 0.008) / 1.008 * torch.pi / 2) ** 2
        return cls.from_betas((1 - abar[1:] / abar[:-1]).clamp(max=0.999), **settings)

    @classmethod
    def flow(cls, T: int = 1000, **settings: Any) -> "Schedule":
        """The rectified flow alpha = 1 - t/T, sigma = t/T, for networks that output eps - x0."""
        settings.setdefault("prediction", "flow")
        return cls(None, T, **settings)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Schedule":
        """The schedule of a checkpoint's scheduler_config.json. Raises InputError where it is of a kind not
        known here.
        """
        kind: str = config.get("beta_schedule", "linear")
        output: str = config.get("prediction_type", "epsilon")
        if output not in OUTPUTS:
            raise InputError(f"scheduler config: prediction type {output!r}; known are {', '.join(OUTPUTS)}")
        settings: dict[str, Any] = {
            "prediction": OUTPUTS[output],
            "spacing": config.get("timestep_spacing", "leading"),
            "offset": config.get("steps_offset", 0),
            "last": None if config.get("set_alpha_to_one", True) else 0,
        }
        T: int = config.get("num_train_timesteps", 1000)
        ends = config.get("beta_start", 1e-4), config.get("beta_end", 0.02)
        if config.get("trained_betas") is not None:
            made = cls.from_betas(config["trained_betas"], **settings)
        elif kind == "linear":
            made = cls.linear(T, *ends, **settings)
        elif kind == "scaled_linear":
            made = cls.scaled_linear(T, *ends, **settings)
        elif kind == "squaredcos_cap_v2":
            made = cls.cosine(T, **settings)
        else:
            raise InputError(
                f"scheduler config: beta schedule {kind!r}; "
                "known are linear, scaled_linear and squaredcos_cap_v2"
            )
        return made.zero_terminal() if config.get("rescale_betas_zero_snr") else made

    def zero_terminal(self) -> "Schedule":
        """The chain shifted and scaled so that its last level is pure noise (Lin et al. 2023, Alg. 1)."""
        assert self.abar is not None
        root = self.abar.sqrt()
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        return replace(self, abar=root**2)

    # Levels

    @property
    def clean(self) -> float:
        """The time of the clean level."""
        return 0 if self.abar is None else -1

    @cached_property
    def _table(self) -> Tensor:
        """(alpha, sigma) of the levels -1..T, at index t + 1: (T + 2, 2, 1, 1, 1)."""
        assert self.abar is not None
        abar = torch.cat([self.abar.new_ones(1), self.abar, self.abar.new_zeros(1)])
        return torch.stack([abar.sqrt(), (1 - abar).sqrt()], 1)[..., None, None, None]

    def time(self, t: float, rows: int) -> Time:
        """One level for all rows: (rows,), int64 on a chain, float64 on a flow."""
        return torch.full((rows,), t, dtype=torch.float64 if self.abar is None else torch.int64)

    def told(self, t: Time) -> Time:
        """The number that the network is told as the time t; a whole one where a solver's grid is one of a table."""
        t = t.floor() if self.warp and self.warp.ends == "solver" else t
        return t * (1000 / self.T) if self.rescale else t

    def at(self, t: Time | float) -> tuple[Coef, Coef]:
        """(alpha, sigma) of every time: float64 on the CPU, (b, 1, 1, 1).

        Raises InputError for a time outside clean..T.
        """
        t = (t.cpu() if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64)).reshape(-1)
        low, high = (float(end) for end in t.aminmax())
        if not self.clean <= low <= high <= self.T:
            wrong = high if low >= self.clean else low
            raise InputError(f"time: {wrong:g}; this model's times lie in {self.clean:g}..{self.T}")
        if self.abar is None:
            sigma = t.double().reshape(-1, 1, 1, 1) / self.T
            return 1 - sigma, sigma
        alpha, sigma = self._table[t.long() + 1].unbind(1)
        return alpha, sigma

    def level(self, ratio: float) -> float:
        """The time whose noise-to-signal ratio sigma / alpha is `ratio`; on a chain the nearest one."""
        if self.abar is None:
            return self.T * ratio / (1 + ratio) if ratio != float("inf") else float(self.T)
        return float(((1 / self.abar - 1).sqrt() - ratio).abs().argmin())

    def carry(self, apart: Latent, t: float, s: float) -> Latent:
        """What lies between two states of one noise at level t, at level s: alpha_s / alpha_t of it, as their
        clean ends stay apart; 0 out of pure noise, where nothing lies between them.
        """
        return _safe_inverse(self.at(t)[0]).to(apart) * self.at(s)[0].to(apart) * apart

    # Conversions

    def mix(self, x0: Latent, eps: Latent, t: Time | float) -> Latent:
        """alpha_t x0 + sigma_t eps: the forward process, and every deterministic step."""
        alpha, sigma = self.at(t)
        return alpha.to(x0) * x0 + sigma.to(x0) * eps

    def predict(
        self,
        x_t: Latent,
        at: Time | float,
        *,
        x0: Latent | None = None,
        eps: Latent | None = None,
        v: Latent | None = None,
        flow: Latent | None = None,
        var: Tensor | None = None,
    ) -> Prediction:
        """Both ends of x_t, which stands at level `at`, from exactly one of x0, eps, v = alpha eps - sigma x0
        or flow = eps - x0.

        Law: alpha x0 + sigma eps == x_t. Where the given end says nothing about the other (eps at alpha = 0,
        x0 at sigma = 0) the other is 0. Clamping is `predict(x_t, at, x0=p.x0.clamp(-1, 1))`.
        """
        if sum(end is not None for end in (x0, eps, v, flow)) != 1:
            raise TypeError("predict() takes exactly one of x0, eps, v, flow")
        alpha, sigma = self.at(at)
        if eps is not None:
            x0 = _safe_inverse(alpha).to(x_t) * (x_t - sigma.to(x_t) * eps)
        elif x0 is not None:
            eps = _safe_inverse(sigma).to(x_t) * (x_t - alpha.to(x_t) * x0)
        elif v is not None:
            norm = 1 / (alpha**2 + sigma**2)  # 1 on a variance-preserving chain
            a, s = (alpha * norm).to(x_t), (sigma * norm).to(x_t)
            x0, eps = a * x_t - s * v, a * v + s * x_t
        elif flow is not None:
            norm = 1 / (alpha + sigma)  # 1 on a rectified flow
            n, a, s = norm.to(x_t), (alpha * norm).to(x_t), (sigma * norm).to(x_t)
            x0, eps = n * x_t - s * flow, n * x_t + a * flow
        assert x0 is not None
        assert eps is not None
        return Prediction(x0, eps, var)

    # Steps

    def forward(self, s: Time | float, t: Time | float) -> tuple[Coef, Coef]:
        """(scale, std) of the forward jump x_t = scale x_s + std z from level s up to t (float64, CPU)."""
        (alpha_s, sigma_s), (alpha_t, sigma_t) = self.at(s), self.at(t)
        scale = alpha_t / alpha_s
        return scale, (sigma_t**2 - scale**2 * sigma_s**2).clamp(min=0).sqrt()

    def posterior(
        self,
        t: Time | float,
        s: Time | float,
        kind: Variance = "fixed_small",
        var: Tensor | None = None,
        *,
        above: Time | float | None = None,
    ) -> tuple[Coef, Coef, Tensor]:
        """(c_x0, c_xt, std) of x_s = c_x0 x0 + c_xt x_t + std z, going down from level t to level s.

        Ho et al. 2020, eq. 6-7, for any pair of levels. std: "fixed_small" sqrt(beta~), "fixed_large"
        sqrt(beta), "learned_range" the network's `var` between the two in log space (Nichol & Dhariwal 2021,
        eq. 15; (b, c, h, w) in the dtype and on the device of var). Coefficients are float64 on the CPU.
        Going down to the clean level beta~ is 0; its stand-in is beta~ of the step from `above` (default t +
        1) to t, as in the published code: it adds no noise there, but gradient guidance multiplies by it.
        """
        scale, std = self.forward(s, t)
        (alpha_s, sigma_s), (_, sigma_t) = self.at(s), self.at(t)
        large = std**2
        small = large * sigma_s**2 / sigma_t**2
        c_x0, c_xt = alpha_s * large / sigma_t**2, scale * sigma_s**2 / sigma_t**2
        clean = sigma_s == 0
        if bool(clean.any()):
            above = torch.as_tensor(t + 1).double().clamp(max=self.T).reshape(-1) if above is None else above
            stand_in = (self.forward(t, above)[1] * sigma_t / self.at(above)[1]) ** 2
            small = torch.where(clean, stand_in, small)
        if kind == "fixed_small":
            return c_x0, c_xt, small.sqrt()
        if kind == "fixed_large":
            return c_x0, c_xt, torch.where(clean, small, large).sqrt()
        if var is None:
            raise InputError(
                "learned_range: this network has no variance channels; use fixed_small or fixed_large"
            )
        f = (var + 1) / 2
        return c_x0, c_xt, (0.5 * (f * large.log().to(var) + (1 - f) * small.log().to(var))).exp()

    def ddim(self, t: Time | float, s: Time | float, eta: float) -> tuple[Coef, Coef]:
        """(kept, fresh): x_s = alpha_s x0 + kept eps + fresh z, kept^2 + fresh^2 = sigma_s^2 (Song et al.
        2021, eq. 12, 16).

        eta = 0 is deterministic; eta = 1 is the DDPM posterior with "fixed_small".
        """
        _, std = self.forward(s, t)
        (_, sigma_s), (_, sigma_t) = self.at(s), self.at(t)
        fresh = eta * std * sigma_s / sigma_t
        return (sigma_s**2 - fresh**2).clamp(min=0).sqrt(), fresh

    # Grids

    def on(self, tokens: int) -> "Schedule":
        """The same schedule, its grid's time shift fitted to a canvas of so many image tokens."""
        return self if self.warp is None else replace(self, warp=replace(self.warp, tokens=tokens))

    def grid(self, steps: int | str, *, spacing: Spacing | None = None) -> list[Pair]:
        """The moves [(t, s), ...] of `steps` steps from noise to picture, each from level t down to level s.

        spacing (default: the checkpoint's own): `grids.spaced` lists them. A string instead of a number is a
        respacing as in the ADM code: "10", "2,3,5", "10,0" or "ddim10". The grids of pipelines end where the
        checkpoint says, "ldm" on level 0, all others on the clean level. A flow is cut evenly, or as its
        `warp` says.
        """
        if self.abar is None and self.warp is not None:
            times = [self.T * sigma for sigma in self.warp.levels(int(steps), self.T)]
        elif self.abar is None:
            times = [self.T * k / int(steps) for k in range(1, int(steps) + 1)]
        elif isinstance(steps, str):
            return pairs(respace(self.T, steps), self.clean)
        else:
            kind = spacing or self.spacing
            times = spaced(self.T, steps, kind, self.offset)
            if kind not in ("leading", "trailing", "linspace"):
                return pairs(times, 0 if kind == "ldm" else self.clean)
        return pairs(times, self.clean if self.last is None else self.last)
