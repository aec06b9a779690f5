"""Cross-attention maps of a picture, word by word: where the network attends while it denoises."""

from collections.abc import Sequence

from scumble.attention.inject import Edits
from scumble.attention.maps import Maps, Record
from scumble.core.control import SOURCE
from scumble.core.host import isolated
from scumble.core.noise import Noise
from scumble.core.prior import Prior, Text, ask
from scumble.core.request import Watch
from scumble.core.types import Latent


@isolated()
def observe(
    prior: Prior, z: Latent, text: Text, times: Sequence[float], noise: Noise, on_step: Watch | None = None
) -> Maps:
    """The maps of the text's words over the pictures z (b, c, h, w), averaged over the levels `times`.

    At each level z is noised and the network is called once. Raises InputError for a prior without cross-attention.
    """
    record = Record((SOURCE,))
    with prior.control(Edits(maps=[record])):
        for k, t in enumerate(times, 1):
            x_t = prior.schedule.mix(z, noise.like(z), t)
            p = ask(prior, {SOURCE: (x_t, text)}, prior.schedule.time(t, len(z)))
            if on_step is not None:
                on_step(k, len(times), t, x_t, p[SOURCE].x0)
    return record.maps(SOURCE, text)
