"""What the tiny Stable Diffusion said in a case, so that the case can be checked without its weights.

Made by `SCUMBLE_GOLDENS=<folder with tiny-sd> SCUMBLE_RECORD=tests/goldens pytest tests/parity`, which writes
<method>/<case>.network.safetensors for every case on that model. Replayed, each call must come with the input
it was recorded with: the algorithm is checked in full, only the network's own arithmetic is taken as given.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.prior import Card, Text
from scumble.core.schedule import Schedule

# States are up to 30 in size and agree between machines to the loosest bound of the cases, about 1e-3.
ALLOWED = 2e-3


def raw(schedule: Schedule, p: Prediction, at: Tensor) -> Tensor:
    """What the network itself put out."""
    if schedule.prediction == "v":
        alpha, sigma = (c.to(p.eps) for c in schedule.at(at))
        return alpha * p.eps - sigma * p.x0
    return p.eps if schedule.prediction == "eps" else p.x0


class Recorder:
    """Listens to a prior's every call, until `save`."""

    def __init__(self, prior: Any):
        self._tensors: dict[str, Tensor] = {}
        self._prompts: dict[str, list[str]] = {}
        for name, listen in {"embed": self._embed, "predict": self._predict}.items():
            setattr(prior, name, listen(prior, getattr(prior, name)))
        for name in ("encode", "decode"):
            setattr(prior, name, self._codec(name, getattr(prior, name)))

    def _keep(self, call: str, **tensors: Tensor) -> str:
        k = sum(key.startswith(f"{call}.") and key.endswith(".out") for key in self._tensors)
        self._tensors |= {f"{call}.{k}.{name}": x.clone().contiguous() for name, x in tensors.items()}
        return f"{call}.{k}"

    def _embed(self, prior: Any, embed: Callable[..., Text]) -> Callable[..., Text]:
        def recording(prompts: Sequence[str], **settings: Any) -> Text:
            text = embed(prompts, **settings)
            for i, prompt in enumerate(prompts):
                self._tensors |= {
                    f"tokens[{prompt}]": text.tokens[i].clone(),
                    f"ids[{prompt}]": text.ids[i].clone(),
                }
            return text

        return recording

    def _predict(self, prior: Any, predict: Callable[..., Prediction]) -> Callable[..., Prediction]:
        def recording(x_t: Tensor, t: Tensor, text: Text, at: Tensor | None = None) -> Prediction:
            p = predict(x_t, t, text, at)
            out = raw(prior.schedule, p, t if at is None else at)
            # The rows of a call share few states: the branches of guidance stand at the same x_t.
            x, row = torch.unique(x_t.flatten(1), dim=0, return_inverse=True)
            self._prompts[self._keep("predict", x=x, row=row, t=t, out=out)] = list(text.prompts)
            return p

        return recording

    def _codec(self, name: str, run: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def recording(x: Tensor, *noise: Noise | None) -> Tensor:
            out = run(x, *noise)
            self._keep(name, x=_bytes(x) if name == "encode" else x, out=out)
            return out

        return recording

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(self._tensors, path, {"prompts": json.dumps(self._prompts)})


def _bytes(image: Tensor) -> Tensor:
    return ((image + 1) * 127.5).round().to(torch.uint8)


class Recorded:
    """A prior that answers from the recording beside a case, to the questions that were recorded."""

    def __init__(self, case: Path, schedule: Schedule):
        self.schedule = schedule
        self.card = Card(id="tiny-sd", hash="", domain="A recording.", size=128, multiple=64)
        with safe_open(case.with_suffix(".network.safetensors"), "pt") as file:
            self._tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            self._prompts = json.loads(file.metadata()["prompts"])
        self._calls = dict.fromkeys(("encode", "decode", "predict"), 0)

    def _next(self, call: str, x: Tensor) -> tuple[str, Tensor]:
        key = f"{call}.{self._calls[call]}"
        self._calls[call] += 1
        assert f"{key}.out" in self._tensors, f"{call} is called more often than was recorded"
        expected = self._tensors[f"{key}.x"]
        if call == "encode":
            expected = expected / 127.5 - 1
        elif call == "predict":
            expected = expected[self._tensors[f"{key}.row"]].reshape(x.shape)
        off = float((x - expected).abs().max())
        assert off <= ALLOWED, f"{key}: its input is off by {off:.2e}"
        return key, self._tensors[f"{key}.out"]

    def encode(self, image: Tensor, noise: Noise | None = None) -> Tensor:
        latent = self._next("encode", image)[1]
        if noise is not None:
            noise.like(latent[:1])  # the draw that the recorded sample used up
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        return self._next("decode", latent)[1]

    def embed(self, prompts: Sequence[str], **settings: Any) -> Text:
        tokens, ids = (
            torch.stack([self._tensors[f"{of}[{p}]"] for p in prompts]) for of in ("tokens", "ids")
        )
        return Text(tokens=tokens, ids=ids, prompts=tuple(prompts))

    def predict(self, x_t: Tensor, t: Tensor, text: Text, at: Tensor | None = None) -> Prediction:
        key, out = self._next("predict", x_t)
        assert torch.equal(t, self._tensors[f"{key}.t"]), f"{key}: told {t}"
        assert list(text.prompts) == self._prompts[key], f"{key}: its prompts are {text.prompts}"
        return self.schedule.predict(x_t, t if at is None else at, **{self.schedule.prediction: out})

    def control(self, control: object) -> Any:
        raise AssertionError("a recording has no attention to control")

    def parameters(self, part: str = "all") -> dict[str, Tensor]:
        return {}
