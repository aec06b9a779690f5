"""Pictures: reading and writing files, the model's canvas, the layer, contact sheets.

Not here: models, methods, or what an edit asks for (`editing`).

Input: PNG, JPEG and WebP of any size. EXIF orientation is applied. Alpha is removed for the edit, and added to the
result. Palette, CMYK and 16-bit pictures become 8-bit RGB (16-bit values are scaled, not clipped). An RGB colour
profile is kept; other EXIF data (place, camera) are not.
"""
