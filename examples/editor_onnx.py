"""An exported editor on a picture, with onnxruntime, numpy and Pillow alone.

scumble export runs/scenes-editor -o editor.onnx
python examples/editor_onnx.py editor.onnx in.png out.png --task star
"""

import argparse
import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("editor")
    parser.add_argument("picture")
    parser.add_argument("out")
    parser.add_argument("--task", required=True)
    parser.add_argument("--strength", type=float, default=1.0)
    asked = parser.parse_args()

    session = onnxruntime.InferenceSession(asked.editor)
    about = session.get_modelmeta().custom_metadata_map
    tasks, size, multiple = (json.loads(about[name]) for name in ("tasks", "size", "multiple"))
    if asked.task not in tasks:
        parser.error(f"there is no task {asked.task!r}; this editor has {', '.join(tasks)}")

    picture = ImageOps.exif_transpose(Image.open(asked.picture)).convert("RGB")
    scale = size / max(picture.size)  # to the size that it was trained on
    sides = [max(round(side * scale / multiple), 2) * multiple for side in picture.size]
    pixels = np.asarray(picture.resize(sides, Image.Resampling.LANCZOS))[None]

    task, strength = np.array([tasks.index(asked.task)]), np.array([asked.strength], np.float32)
    (edited,) = session.run(None, {"picture": pixels, "task": task, "strength": strength})
    Image.fromarray(np.asarray(edited)[0]).resize(picture.size, Image.Resampling.LANCZOS).save(asked.out)


if __name__ == "__main__":
    main()
