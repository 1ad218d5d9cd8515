"""Writes the same small data set of 32x32 images, or of 96x96 for STL-10, in the formats of the
usual downloads, by NumPy where it writes the format: sets.py DIRECTORY. Each has a directory of its
own there; `expected` has the bytes of the training images and labels."""
import gzip
import os
import struct
import sys
import zlib

import numpy

CLASSES, TRAIN, TEST = 10, 40, 20
root = sys.argv[1]


def images(count, side, seed):
    """Images whose brightness tells their label."""
    random = numpy.random.RandomState(seed)
    label = numpy.arange(count) % CLASSES
    noise = random.randint(0, 30, (count, side, side, 3))
    return (noise + 20 * label[:, None, None, None]).astype(numpy.uint8), label.astype(numpy.uint8)


def path(*parts):
    name = os.path.join(root, *parts)
    os.makedirs(os.path.dirname(name), exist_ok=True)
    return name


def write(name, *bytes_of):
    with (gzip.open if name.endswith(".gz") else open)(name, "wb") as f:
        for part in bytes_of:
            f.write(part)


def planes(x):
    return numpy.ascontiguousarray(x.transpose(0, 3, 1, 2))


def element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def matrix(name, array):
    """An array as scipy.io.savemat(do_compression=True) writes it."""
    parts = element(6, struct.pack("<II", 9, 0))
    parts += element(5, struct.pack("<%di" % array.ndim, *array.shape))
    parts += struct.pack("<HH", 1, len(name)) + name.encode() + b"\0" * (4 - len(name))
    parts += element(2, array.astype(numpy.uint8).tobytes(order="F"))
    packed = zlib.compress(struct.pack("<II", 14, len(parts)) + parts)
    return struct.pack("<II", 15, len(packed)) + packed


def mat(name, x, y):
    header = b"MATLAB 5.0 MAT-file".ljust(116) + b"\0" * 8 + struct.pack("<H", 0x100) + b"IM"
    label = numpy.where(y == 0, 10, y)[:, None]
    write(name, header, matrix("X", x.transpose(1, 2, 3, 0)), matrix("y", label))


def save_mat(name, x, y):
    try:
        import scipy.io
    except ImportError:
        return mat(name, x, y)
    arrays = {"X": x.transpose(1, 2, 3, 0), "y": numpy.where(y == 0, 10, y)[:, None]}
    return scipy.io.savemat(name, arrays, do_compression=True)


def csv(name, x, y, header=True, scale=1, end="\n"):
    rows = x.reshape(len(x), -1)
    text = ["label," + ",".join("pixel%d" % i for i in range(rows.shape[1]))] if header else []
    for row, label in zip(rows, y):
        text.append("%d," % label + ",".join("%.9g" % (v / scale) for v in row.tolist()))
    write(name, (end.join(text) + end).encode())


def idx(name, array):
    code = {"u1": 8, "i2": 0xB, "i4": 0xC, "f4": 0xD, "f8": 0xE}[array.dtype.str[1:]]
    write(name, struct.pack(">HBB%dI" % array.ndim, 0, code, array.ndim, *array.shape),
          array.astype(array.dtype.newbyteorder(">")).tobytes())


x, y = images(TRAIN, 32, 1)
tx, ty = images(TEST, 32, 2)
write(path("expected"), x.tobytes(), y.tobytes())

names = "".join("class_%d\n" % i for i in range(CLASSES)).encode() + b"\n"
for place in ("cifar", "cifar_below/cifar-10-batches-bin"):
    for i in range(5):
        part = slice(i * 8, i * 8 + 8)
        write(path(place, "data_batch_%d.bin" % (i + 1)),
              numpy.hstack([y[part, None], planes(x[part]).reshape(8, -1)]).tobytes())
    write(path(place, "test_batch.bin"),
          numpy.hstack([ty[:, None], planes(tx).reshape(TEST, -1)]).tobytes())
    write(path(place, "batches.meta.txt"), names)

for name, xs, ys in (("train", x, y), ("test", tx, ty)):
    coarse = numpy.full((len(ys), 1), 19, numpy.uint8)
    write(path("cifar100/cifar-100-binary", name + ".bin"),
          numpy.hstack([coarse, ys[:, None], planes(xs).reshape(len(xs), -1)]).tobytes())
    save_mat(path("svhn", name + "_32x32.mat"), xs, ys)
    mat(path("svhn_bytes", name + "_32x32.mat"), xs, ys)
    csv(path("csv", name + ".csv"), xs, ys)
    csv(path("csv_plain", "set_" + name + ".csv.gz"), xs, ys, header=False, end="\r\n")
    csv(path("csv_unit", "set-" + name + ".csv"), xs, ys, scale=255)
    part = "train" if name == "train" else "t10k"
    idx(path("idx", part + "-images.idx4-ubyte.gz"), xs)
    idx(path("idx", part + "-labels.idx1-ubyte"), ys)
    idx(path("idx_float", part + "-images-idx4-float"), (xs / 255).astype(numpy.float32))
    idx(path("idx_float", part + "-labels-idx1-int"), ys.astype(numpy.int32))

numpy.savez(path("npz", "keras.npz"), x_train=x, y_train=y, x_test=tx, y_test=ty)
numpy.savez_compressed(path("npz_medmnist", "pathmnist.npz"), train_images=x,
                       train_labels=y[:, None], val_images=tx, val_labels=ty[:, None],
                       test_images=tx, test_labels=ty[:, None])
numpy.savez_compressed(path("npz_odd", "odd.npz"),
                       x_train=numpy.asfortranarray(planes(x) / 255).astype(">f8"),
                       y_train=y.astype(">i8"), x_test=planes(tx).astype("<u2"),
                       y_test=ty.astype("<i2")[:, None])
numpy.savez(path("npz_pickled", "pickled.npz"), x_train=numpy.array([x, None], dtype=object),
            y_train=y)

big, big_label = images(TRAIN, 96, 3)
for name, xs, ys in (("train", big, big_label), ("test", big[:TEST], big_label[:TEST])):
    write(path("stl10/stl10_binary", name + "_X.bin"), xs.transpose(0, 3, 2, 1).tobytes())
    write(path("stl10/stl10_binary", name + "_y.bin"), (ys + 1).tobytes())
write(path("stl10/stl10_binary", "class_names.txt"), names)
write(path("expected_stl10"), big.tobytes(), big_label.tobytes())
