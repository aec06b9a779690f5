"""The glossary: every tensor that crosses a module boundary is one of these.

| name | shape | unit |
|---|---|---|
| `Image` | (b, 3, H, W) | RGB in [-1, 1], float32 |
| `Latent` | (b, c, h, w) | the prior's own scaled space, float32 (float64 in theory tests) |
| `Mask` | (b or 1, 1, h, w) | 1 = may change, 0 = must stay |
| `Time` | (b,) | what the network was trained on: 0..T-1 on a chain, (0, 1000] on a flow; on the CPU |
| `Coef` | (b, 1, 1, 1) | a number per row, ready to broadcast over a latent |
| `Pair` | (t, s) | one move of a loop: from level t to level s; down when sampling, up when inverting |

Mathematics keeps the papers' symbols: `x_t = alpha_t x0 + sigma_t eps`, `w` guidance, `eta` DDIM's share of
fresh noise.
"""

from jaxtyping import Float, Num
from torch import Tensor

Image = Float[Tensor, "b 3 H W"]
Latent = Float[Tensor, "b c h w"]
Mask = Float[Tensor, "#b 1 h w"]
Time = Num[Tensor, " b"]
Coef = Float[Tensor, "b 1 1 1"]
Pair = tuple[float, float]
