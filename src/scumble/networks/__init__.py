"""Small networks besides the model: those of our own recipes, and pretrained ones that fit the same protocols.

Not here: the models themselves (`priors`), training (`train`), or what methods do with these networks.
"""

from scumble.networks.load import NETWORKS, load

__all__ = ["NETWORKS", "load"]
