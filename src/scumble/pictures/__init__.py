"""Pictures in files, on a model's canvas, under a layer and on sheets that people look at.

Not here: models, methods, or what an edit was asked for (`editing`).

What goes in: PNG, JPEG and WebP of any size. EXIF orientation is applied; alpha is set aside, to be
re-attached; palette, CMYK and 16-bit pictures become 8-bit RGB (16-bit values are scaled, not clipped).
An RGB colour profile is kept; other EXIF (places, cameras) is not.
"""
