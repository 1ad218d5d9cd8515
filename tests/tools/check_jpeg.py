"""JPEG files as Pillow turns and converts them: check_jpeg.py IMAGE_TOOL DIRECTORY

Every orientation in gray, RGB and CMYK, written by Pillow and read by the trainer's reader.
"""
import subprocess
import sys

import numpy
from PIL import Image, ImageOps

tool, directory = sys.argv[1:]
ORIENTATION = 0x0112
HEIGHT, WIDTH = 24, 40
worst = 0
for mode, channels in (("L", 1), ("RGB", 3), ("CMYK", 4)):
    row, column, channel = numpy.ogrid[:HEIGHT, :WIDTH, :channels]
    pixels = (60 + 3 * row + 2 * column + 15 * channel).astype(numpy.uint8)
    image = Image.fromarray(pixels.squeeze(), mode)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        path = f"{directory}/{mode}{orientation}.jpeg"
        image.save(path, quality=95, exif=exif.tobytes())
        subprocess.run([tool, "png", path, path + ".png"], check=True)
        wanted = ImageOps.exif_transpose(Image.open(path))
        wanted = numpy.asarray(wanted.convert("L" if mode == "L" else "RGB"), int)
        got = numpy.asarray(Image.open(path + ".png"), int)
        if got.shape != wanted.shape:
            sys.exit(f"{path}: {got.shape}, not {wanted.shape}")
        difference = abs(got - wanted).max()
        worst = max(worst, difference)
        if not difference <= 2:
            sys.exit(f"{path}: differs by {difference}")
print(f"differs by at most {worst}")
