"""WebP, GIF and BMP files as Pillow writes and reads them: check_images.py IMAGE_TOOL DIRECTORY

Every mode that Pillow writes, animations (the first frame), frames smaller than their canvas,
interlaced ones, transparent colours, and how a camera was held.
"""
import io
import subprocess
import sys

import numpy
from PIL import Image, ImageOps

tool, directory = sys.argv[1:]
ORIENTATION = 0x0112
row, column, channel = numpy.ogrid[:24, :41, :4]
pixels = ((7 * row + 5 * column + 60 * channel) % 256).astype(numpy.uint8)
rgba = Image.fromarray(pixels, "RGBA")
rgb, gray = rgba.convert("RGB"), rgba.convert("L")
palette = rgb.quantize(31)
cases = 0


def check(name):
    """Both have alpha or neither has; the colour of what is transparent is nobody's business."""
    global cases
    cases += 1
    path = f"{directory}/{name}"
    subprocess.run([tool, "png", path, path + ".png"], check=True)
    image = ImageOps.exif_transpose(Image.open(path))
    got = Image.open(path + ".png")
    if "transparency" in image.info and got.mode != "RGBA":
        sys.exit(f"{path}: alpha is lost")
    wanted = numpy.asarray(image.convert(got.mode), int)
    got = numpy.asarray(got, int)
    if got.shape != wanted.shape:
        sys.exit(f"{path}: {got.shape}, not {wanted.shape}")
    if got.shape[2] == 4:
        seen = wanted[..., 3:] > 0
        wanted, got = wanted * seen, got * seen
    if (worst := abs(got - wanted).max()) > 0:
        sys.exit(f"{path}: differs by {worst}")


def write(name, image, **options):
    image.save(f"{directory}/{name}", **options)


for name, image in (("rgb", rgb), ("rgba", rgba)):
    write(f"{name}.lossless.webp", image, lossless=True, exact=True)
    write(f"{name}.lossy.webp", image, quality=70)
    check(f"{name}.lossless.webp")
    check(f"{name}.lossy.webp")
write("animated.webp", rgba, save_all=True, append_images=[rgb.convert("RGBA")], lossless=True)
check("animated.webp")
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    write(f"turned{orientation}.webp", rgb, lossless=True, exif=exif.tobytes())
    check(f"turned{orientation}.webp")

for name, image in (("palette", palette), ("gray", gray), ("bilevel", gray.convert("1"))):
    for interlace in (0, 1):
        write(f"{name}{interlace}.gif", image, interlace=interlace)
        check(f"{name}{interlace}.gif")
write("transparent.gif", palette, transparency=3)
check("transparent.gif")
write("animated.gif", palette, save_all=True, append_images=[rgb.quantize(9)], loop=0)
check("animated.gif")


def moved(transparent):
    """A GIF whose frame is smaller than its canvas."""
    out = io.BytesIO()
    palette.save(out, "GIF", **({"transparency": 3} if transparent else {}))
    data = bytearray(out.getvalue())
    data[6:10] = bytes([60, 0, 40, 0])
    at = data.index(b",\0\0\0\0")
    data[at + 1 : at + 5] = bytes([7, 0, 9, 0])
    return data


for transparent in (False, True):
    name = f"moved{int(transparent)}.gif"
    with open(f"{directory}/{name}", "wb") as f:
        f.write(moved(transparent))
    check(name)

for name, image in (("rgb", rgb), ("palette", palette), ("gray", gray), ("bilevel", gray.convert("1"))):
    write(f"{name}.bmp", image)
    check(f"{name}.bmp")
write("rgba.bmp", rgba)
check("rgba.bmp")


def top_down():
    """Rows from the top: the height is negative."""
    out = io.BytesIO()
    ImageOps.flip(rgb).save(out, "BMP")
    data = bytearray(out.getvalue())
    data[22:26] = (-24 & 0xFFFFFFFF).to_bytes(4, "little")
    return data


with open(f"{directory}/down.bmp", "wb") as f:
    f.write(top_down())
check("down.bmp")
print(f"{cases} files as Pillow reads them")
