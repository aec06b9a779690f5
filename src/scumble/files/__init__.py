"""Pictures in files: reading them with suspicion, writing them whole or not at all.

What goes in: PNG, JPEG and WebP of any size. EXIF orientation is applied; alpha is set aside, to be
re-attached; palette, CMYK and 16-bit pictures become 8-bit RGB (16-bit values are scaled, not clipped).
An RGB colour profile is kept; other EXIF (places, cameras) is not.
"""

from scumble.files.reading import FORMATS, Mask, Picture, PictureLike, read, read_mask, read_passport
from scumble.files.writing import atomic, check_output, save

__all__ = [
    "FORMATS",
    "Mask",
    "Picture",
    "PictureLike",
    "atomic",
    "check_output",
    "read",
    "read_mask",
    "read_passport",
    "save",
]
