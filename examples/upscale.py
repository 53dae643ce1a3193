"""Upscale a picture: python examples/upscale.py photo.png large.png [x4]"""

import sys

from PIL import Image

import dasr_fast


def main(source: str, target: str, weights: str = "x4") -> None:
    with Image.open(source) as image:
        dasr_fast.upscale(image, weights=weights).save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
