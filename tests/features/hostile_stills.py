"""Stills: every kind that must be read alike, and bombs that must be refused unread."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from boxes import box, number
from corpus import CUT, PIXELS, Corpus
from PIL import Image

TEXT_BOMB = 200_000_000


def picture(width: int = 64, height: int = 48) -> Image.Image:
    """Smooth colours: every encoding of it looks alike."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    colours = np.stack([220 * x + 20, 200 * y + 30, 120 + 60 * np.sin(3 * x)], -1)
    return Image.fromarray(colours.astype(np.uint8))


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return number(len(body)) + kind + body + number(zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, colour: int = 2, depth: int = 8) -> bytes:
    head = number(width) + number(height) + bytes([depth, colour, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IEND", b"")


def zeros(n: int, after: bytes = b"") -> bytes:
    """`n` zeros, compressed a part at a time."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(n >> 20)]
    return b"".join([*parts, packer.compress(bytes(n % (1 << 20)) + after), packer.flush()])


def make(corpus: Corpus) -> None:
    alike(corpus)
    odd(corpus)
    broken(corpus)
    bombs(corpus)


def alike(corpus: Corpus) -> None:
    """All of these show `picture()`."""
    corpus.group = "still-alike"
    image = picture()
    grey = np.asarray(image.convert("L"))
    deep = (np.asarray(image.convert("RGB")).astype(">u2") * 257).tobytes()
    row = 64 * 6
    deep_rows = b"".join(b"\0" + deep[i * row : (i + 1) * row] for i in range(48))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = image.transpose(Image.Transpose.ROTATE_90)
    moving = {"save_all": True, "append_images": [Image.new("RGB", (64, 48), "red")] * 3}
    see_through = image.convert("RGBA")
    for name, content in {
        "plain.png": encoded(image, "PNG"),
        "plain.jpg": encoded(image, "JPEG", quality=95),
        "plain.webp": encoded(image, "WEBP", quality=95),
        "lossless.webp": encoded(image, "WEBP", lossless=True),
        "progressive.jpg": encoded(image, "JPEG", progressive=True, quality=95),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG", quality=95),
        "exif-6.jpg": encoded(turned, "JPEG", quality=95, exif=exif),
        "exif-6.png": encoded(turned, "PNG", exif=exif),
        "exif-6.webp": encoded(turned, "WEBP", quality=95, exif=exif),
        "preview.jpg": encoded(image, "MPO", quality=95, **moving),
        "plain.bmp": encoded(image, "BMP"),
        "palette.bmp": encoded(image.quantize(256), "BMP"),
        "palette.png": encoded(image.quantize(256), "PNG"),
        "palette-see-through.png": encoded(image.quantize(255), "PNG", transparency=255),
        "rgba.png": encoded(see_through, "PNG"),
        "rgba.webp": encoded(see_through, "WEBP", lossless=True),
        "16-bit.png": png(64, 48, chunk(b"IDAT", zlib.compress(deep_rows)), depth=16),
        "animated.png": encoded(image, "PNG", **moving),
        "animated.webp": encoded(image, "WEBP", lossless=True, **moving),
        "tail.jpg": encoded(image, "JPEG", quality=95) + b"\xa5" * 9000,
        "tail.png": encoded(image, "PNG") + b"\xa5" * 9000,
        "broken-icc.jpg": encoded(image, "JPEG", quality=95, icc_profile=b"no profile" * 30),
        "broken-icc.png": encoded(image, "PNG", icc_profile=b"no profile" * 30),
        "broken-exif.jpg": encoded(image, "JPEG", quality=95,
                                   exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\x99" * 40),
        "interlaced-tail.jpg": encoded(image, "JPEG", quality=95)
        + encoded(Image.new("RGB", (64, 48)), "JPEG"),
    }.items():  # fmt: skip
        corpus.add(name, content, "the same picture in another encoding", "v")
    corpus.group = "still-grey"
    deep_grey = (grey.astype(">u2") * 257).tobytes()
    deep_rows = b"".join(b"\0" + deep_grey[i * 128 : (i + 1) * 128] for i in range(48))
    for name, content in {
        "grey.png": encoded(image.convert("L"), "PNG"),
        "grey.jpg": encoded(image.convert("L"), "JPEG", quality=95),
        "grey-alpha.png": encoded(image.convert("LA"), "PNG"),
        "grey-16.png": png(64, 48, chunk(b"IDAT", zlib.compress(deep_rows)), colour=0, depth=16),
    }.items():
        corpus.add(name, content, "the same picture without colour", "v")


def odd(corpus: Corpus) -> None:
    corpus.group = "still-odd"
    for width, height in ((1, 1), (1, 20_000), (20_000, 1), (3, 5), (257, 255), (2, 4001)):
        for form in ("png", "jpg", "webp"):
            if form == "webp" and max(width, height) > 16_383:
                continue
            content = encoded(picture(width, height), {"jpg": "JPEG"}.get(form, form.upper()))
            corpus.add(f"{width}x{height}.{form}", content, "an odd size", "v")
    corpus.add("1-bit.png", encoded(picture().convert("1"), "PNG"), "black and white", "v")
    large = picture(640, 360).resize((7680, 4320))
    corpus.add("8k.jpg", encoded(large, "JPEG"), "7680 x 4320", "v")
    corpus.add("8k.png", encoded(Image.new("RGB", (7680, 4320), "teal"), "PNG"), "7680 x 4320", "v")
    clear = Image.new("RGBA", (64, 48), (255, 0, 0, 0))
    corpus.add("see-through.png", encoded(clear, "PNG"), "all see-through", "v")
    # that Pillow also reads, and that nobody promised to read
    corpus.add("a.tiff", encoded(picture(), "TIFF"), "a TIFF", "-|v")
    corpus.add("a.ico", encoded(picture(), "ICO"), "an icon", "-|v")


def broken(corpus: Corpus) -> None:
    corpus.group = "still-broken"
    rng = np.random.default_rng(4)
    rough = Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8))
    for form in ("JPEG", "PNG", "WEBP", "BMP"):
        whole = encoded(rough, form)
        for share in (0.02, 0.3, 0.6, 0.95):
            corpus.add(f"cut-{share:g}.{form.lower()}", whole[: int(share * len(whole))],
                       f"{form} cut at {share:.0%}", "-" if share < 0.9 else "-|v")  # fmt: skip
        garbled = bytearray(whole)
        garbled[len(whole) // 3 :] = rng.bytes(len(whole) - len(whole) // 3)
        # a JPEG decoder draws whatever bits it finds
        corpus.add(f"garbage.{form.lower()}", garbled, f"{form}, two thirds random", "-|v")
    whole = encoded(rough, "PNG")
    at = whole.index(b"IDAT") + 8
    corpus.add("checksum.png", whole[:at] + b"\0" + whole[at + 1 :], "a wrong byte", "-|v")
    corpus.add("no-data.png", png(64, 48), "no pixels", "-")
    corpus.add("0x0.png", png(0, 0, chunk(b"IDAT", zlib.compress(b""))), "0 x 0", "-")
    corpus.add("0x48.png", png(0, 48, chunk(b"IDAT", zlib.compress(bytes(48)))), "0 x 48", "-")
    corpus.add("minus.png", png(2**32 - 1, 48, chunk(b"IDAT", zlib.compress(bytes(48)))), "-1 x 48",
               "-", f"{PIXELS}|{CUT}")  # fmt: skip
    corpus.add("few-rows.png", png(64, 48, chunk(b"IDAT", zlib.compress(bytes(193 * 10)))),
               "10 of 48 rows in a stream that ends well", "v|-")  # fmt: skip
    corpus.add("chunk-size.png", png(64, 48)[:33] + number(2**31 - 1) + b"IDAT" + bytes(100),
               "a chunk of 2 GB", "-")  # fmt: skip


def bombs(corpus: Corpus) -> None:
    corpus.group = "still-bomb"
    many = f"{PIXELS}|{CUT}"
    side = 100_000
    corpus.add("100000.png", png(side, side, chunk(b"IDAT", zeros(1 << 20))), "100000 x 100000",
               "-", PIXELS)  # fmt: skip
    corpus.add("7000.png", png(7000, 7000, chunk(b"IDAT", zeros(1 << 20))), "7000 x 7000: 49 M",
               "-", PIXELS)  # fmt: skip
    for form, sides in (("jpg", 65_000), ("jpg", 7000)):
        content = bytearray(encoded(picture(), "JPEG"))
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", sides, sides)
        corpus.add(f"{sides}.{form}", content, f"{sides} x {sides}", "-", PIXELS)
    canvas = (side - 1).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + canvas
    body += b"ANIM" + struct.pack("<I", 6) + bytes(6)
    corpus.add("100000.webp", b"RIFF" + struct.pack("<I", len(body)) + body, "100000 x 100000", "-",
               many)  # fmt: skip
    head = struct.pack("<IiiHHI", 40, side, side, 1, 24, 0)
    corpus.add("100000.bmp", b"BM" + bytes(8) + struct.pack("<I", 54) + head + bytes(20),
               "100000 x 100000", "-", PIXELS)  # fmt: skip
    bits = 16_382 | 16_382 << 14
    body = b"WEBPVP8L" + struct.pack("<I", 20) + b"\x2f" + struct.pack("<I", bits) + bytes(15)
    corpus.add("16383.webp", b"RIFF" + struct.pack("<I", len(body)) + body, "16383 x 16383", "-",
               many)  # fmt: skip
    corpus.add("zip.png", png(10, 10, chunk(b"IDAT", zeros(TEXT_BOMB))), "pixels of 200 MB for 10 x"
               " 10", "v|-")  # fmt: skip
    data = chunk(b"IDAT", zlib.compress(bytes(31 * 10)))
    packed = zeros(TEXT_BOMB)
    for kind, head in ((b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0"), (b"iCCP", b"a\0\0")):
        corpus.add(f"{kind.decode()}.png", png(10, 10, chunk(kind, head + packed), data),
                   f"{kind.decode()} that unpacks to 200 MB", "v|-")  # fmt: skip
    flat = Image.new("RGB", (6300, 6300), "teal")
    corpus.add("just-below.png", encoded(flat, "PNG"), "39.7 M pixels in little", "v")
    frames = [Image.new("RGB", (400, 400), (i, 0, 0)) for i in range(200)]
    corpus.add("many-frames.webp", encoded(frames[0], "WEBP", save_all=True,
               append_images=frames[1:], quality=1, method=0), "200 frames", "v")  # fmt: skip
    ftyp = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    corpus.add("a.heic", ftyp + box(b"meta", bytes(40)), "a HEIC without content", "-")
    corpus.add("a.avif", box(b"ftyp", b"avif" + bytes(4) + b"avifmif1") + box(b"meta", bytes(40)),
               "an AVIF without content", "-")  # fmt: skip
