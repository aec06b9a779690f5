"""Files that are no picture we take, and what is said about each."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def png_header(width: int, height: int) -> bytes:
    """A PNG that is all header: its size is a claim that nothing backs."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def bad_files(circle: Image.Image) -> dict[str, tuple[bytes, str]]:
    frames = {"save_all": True, "append_images": [circle.rotate(90)]}
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    return {
        "empty.png": (b"", "empty"),
        "text.png": (b"this is no picture\n" * 20, "not a PNG, JPEG or WebP"),
        "picture.gif": (encoded(circle, "GIF"), "not a PNG, JPEG or WebP"),
        "picture.bmp": (encoded(circle, "BMP"), "not a PNG, JPEG or WebP"),
        "cut.png": (encoded(noise, "PNG")[:4000], "truncated"),
        "cut.jpg": (encoded(noise, "JPEG")[:1500], "truncated"),
        "cut.webp": (encoded(noise, "WEBP", lossless=True)[:2000], "broken or truncated|header is broken"),
        "header.png": (encoded(noise, "PNG")[:20], "broken"),
        "animated.png": (encoded(circle, "PNG", **frames), "animated"),
        "animated.webp": (encoded(circle, "WEBP", **frames), "animated"),
        "bomb.png": (png_header(20_000, 10_001), "200 megapixels|limit is 200"),
        "zero.png": (png_header(0, 16), "nothing to edit|header is broken"),
    }


BAD = ["empty.png", "text.png", "picture.gif", "picture.bmp", "cut.png", "cut.jpg", "cut.webp", "header.png",
       "animated.png", "animated.webp", "bomb.png", "zero.png"]  # fmt: skip
