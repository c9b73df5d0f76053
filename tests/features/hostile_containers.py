"""Hostile files of the other containers: cut, renamed, not media at all, bombs, sound that lies."""

import gzip
import io
import pickle
import struct
import zipfile
from pathlib import Path

import av
import mediafiles
import numpy as np
from boxes import box, find, number, swap
from corpus import CUT, PIXELS, TOO_LONG, Corpus
from hostile_mp4 import noise
from PIL import Image

RATE = 48_000
KINDS = (  # name, picture, sound, options of `write`, share kept: outcome
    ("a.webm", "libvpx", "libopus", {}, "-"),
    ("a.mkv", "mpeg4", "aac", {}, "-"),
    ("a.avi", "mpeg4", "mp2", {}, "-"),
    ("a.ts", "mpeg2video", "mp2", {"rate": 25}, "va|-"),  # made to be cut
    ("a.flv", "flv1", "libmp3lame", {"sound_rate": 44_100}, "-"),
    ("a.ogg", None, "libopus", {}, "a|-"),  # the length is that of the last page
    ("a.mp3", None, "libmp3lame", {}, "-"),
    ("a.wav", None, "pcm_s16le", {}, "-"),
    ("a.flac", None, "flac", {}, "-"),
    ("a.aac", None, "aac", {}, "a|-"),  # bare frames: no length anywhere
    ("a.gif", "gif", None, {"pixels": "rgb8"}, "v|-"),
)


def encode(
    folder: Path, name: str, picture: str | None, sound: str | None, **options: object
) -> bytes:
    """4 s of noise and a tone."""
    options.setdefault("options", {"fflags": "bitexact"})  # no random identifiers
    rate = int(options.setdefault("sound_rate", RATE))  # type: ignore[call-overload]
    path = folder / name
    mediafiles.write(
        path, noise(4 * int(options.get("rate", 10))) if picture else None,  # type: ignore[call-overload]
        mediafiles.tone(440, 4, rate) if sound else None,
        **({"codec": picture} if picture else {}), **({"sound_codec": sound} if sound else {}),
        **options,
    )  # fmt: skip
    content = path.read_bytes()
    path.unlink()
    return content


def make(corpus: Corpus) -> None:
    whole = {
        name: encode(corpus.root, name, picture, sound, **options)
        for name, picture, sound, options, _ in KINDS
    }
    cuts(corpus, whole)
    names(corpus, whole)
    no_media(corpus, whole)
    garbage(corpus, whole)
    wav(corpus)
    lies(corpus, whole)
    tags(corpus, whole)
    bombs(corpus)
    long_sound(corpus)


def cuts(corpus: Corpus, whole: dict[str, bytes]) -> None:
    corpus.group = "cut"
    for name, _, _, _, outcome in KINDS:
        content = whole[name]
        corpus.cuts(name, content, [("12", 12), ("1", 1)])
        corpus.cuts(name, content, [("100", 100)], "v|a|-")
        corpus.cuts(name, content, [("0.4", int(0.4 * len(content)))], outcome)
        last = "|".join({*outcome.split("|"), "va", "a", "v"})
        corpus.cuts(name, content, [("last-byte", len(content) - 1)], last)
        corpus.add(f"no-head-{name}", content[len(content) // 2 :], "the first half is missing",
                   "va|v|a|-")  # fmt: skip


def names(corpus: Corpus, whole: dict[str, bytes]) -> None:
    corpus.group = "renamed"
    mp4 = encode(corpus.root, "a.mp4", "libx264", "aac")
    picture = io.BytesIO()
    Image.fromarray(noise(1)[0]).save(picture, "JPEG")
    for name, content, wanted in (
        ("jpg-as.mp4", picture.getvalue(), "v"), ("mp4-as.jpg", mp4, "va"),
        ("wav-as.mp4", whole["a.wav"], "a"), ("webm-as.mp4", whole["a.webm"], "va"),
        ("mkv-as.txt", whole["a.mkv"], "va"), ("mp3-as.png", whole["a.mp3"], "a"),
        ("gif-as.mp4", whole["a.gif"], "v"), ("ts-as", whole["a.ts"], "va"),
        ("flv-as.MP4", whole["a.flv"], "va"), ("aac-as.mp4", whole["a.aac"], "a"),
        ("avi-as.m3u8", whole["a.avi"], "va"), ("ogg-as.jpg", whole["a.ogg"], "a"),
        ("flac-as.webm", whole["a.flac"], "a"), ("mp4-as.m3u8", mp4, "va"),
    ):  # fmt: skip
        corpus.add(name, content, "good content under another name", wanted)
    corpus.add("tail.mp4", mp4 + b"\xa5" * 5000, "a whole MP4, then 5 kB of garbage",
               "va|-")  # fmt: skip
    corpus.add("head.mp4", b"\xa5" * 5000 + mp4, "5 kB of garbage, then a whole MP4", "va|a|-")
    corpus.add("twice.mp4", mp4 + mp4, "the same MP4 twice in one file", "va|-")
    corpus.add("two.mp4", whole["a.webm"] + mp4, "a webm, then an MP4", "va|-")


def no_media(corpus: Corpus, whole: dict[str, bytes]) -> None:
    corpus.group = "no-media"
    corpus.add("0-bytes.mp4", b"", "no bytes", "-", "empty")
    heads = {
        "ftyp": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "ebml": whole["a.webm"][:60],
        "riff-wav": whole["a.wav"][:44], "riff-avi": whole["a.avi"][:200],
        "ogg": whole["a.ogg"][:47], "flac": b"fLaC", "id3": b"ID3\4\0\0\0\0\0\0", "flv": b"FLV\1\5",
        "ts": whole["a.ts"][:188], "gif": b"GIF89a\x40\0\x30\0\x80\0\0\0\0\0\xff\xff\xff", "png":
        b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff\xe0", "webp": b"RIFF\x10\0\0\0WEBPVP8 ",
        "mp3": whole["a.mp3"][:60], "aac": whole["a.aac"][:7],
    }  # fmt: skip
    for name, content in heads.items():
        corpus.add(f"only-head-{name}.mp4", content, "nothing but a header", "-")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(zipfile.ZipInfo("a.webm"), whole["a.webm"])
    other = "../renamed/webm-as.mp4"
    elf = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\x3e\0" + bytes(2000)
    texts = {
        "text": b"just a text, not a film\n" * 50,
        "html": b"<!DOCTYPE html><html><body>404 not found</body></html>\n" * 20,
        "json": b'{"error": "login required"}',
        "zip": archive.getvalue(),
        "gzip": gzip.compress(whole["a.mp3"], mtime=0),
        "pickle": pickle.dumps({"a": [1, 2, 3]}),
        "pickle-calls": b"cos\nsystem\n(S'touch pwned'\ntR.",
        "elf": elf,
        "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n" * 20,
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "m3u8": f"#EXTM3U\n#EXTINF:4,\n{other}\n#EXT-X-ENDLIST\n".encode(),
        "m3u8-file": b"#EXTM3U\n#EXTINF:4,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "m3u8-http": b"#EXTM3U\n#EXTINF:4,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "m3u8-concat": b"#EXTM3U\n#EXTINF:4,\nconcat:http://127.0.0.1:9/|file:///etc/passwd\n",
        "ffconcat": f"ffconcat version 1.0\nfile '{other}'\n".encode(),
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        b"m=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "mpd": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
        f"<Period><AdaptationSet><Representation id='1' bandwidth='1'><BaseURL>{other}</BaseURL>"
        f"</Representation></AdaptationSet></Period></MPD>".encode(),
        "smil": b"<smil><body><video src='http://127.0.0.1:9/a.mp4'/></body></smil>",
        "asx": b"<asx version='3.0'><entry><ref href='http://127.0.0.1:9/a'/></entry></asx>",
        "rtsp": b"RTSPtext\nrtsp://127.0.0.1:9/a\n",
        "srt": b"1\n00:00:00,000 --> 00:00:04,000\nhello\n",
        "random": np.random.default_rng(5).bytes(20_000),
        "zeros": bytes(100_000),
        "ones": b"\xff" * 100_000,
        "one-byte": b"x",
        "tiff": b"II*\0\x08\0\0\0\2\0\0\1\4\0\1\0\0\0\xa0\x86\1\0\1\1\4\0\1\0\0\0\xa0\x86\1\0"
        + bytes(4),
    }  # fmt: skip
    for name, content in texts.items():
        corpus.add(f"{name}.mp4", content, "not a medium", "-")


def spoiled(content: bytes, start: float, seed: int = 3) -> bytes:
    """Random bytes from a share of the file on."""
    keep = int(start * len(content))
    return content[:keep] + np.random.default_rng(seed).bytes(len(content) - keep)


def garbage(corpus: Corpus, whole: dict[str, bytes]) -> None:
    corpus.group = "garbage"
    for name in ("a.flac", "a.mp3", "a.aac", "a.ogg", "a.webm", "a.mkv", "a.avi", "a.ts", "a.flv"):
        for share in (0.02, 0.3):
            # an MP3 or AAC decoder finds frames in noise; what it says then is noise, not a crash
            corpus.add(f"{share:g}-{name}", spoiled(whole[name], share),
                       f"random from {share:.0%} on", "va|v|a|-")  # fmt: skip


def header(
    channels: int = 1,
    rate: int = RATE,
    size: int = 9600,
    *,
    bits: int = 16,
    align: int | None = None,
    form: int = 1,
) -> bytes:
    """The first 44 bytes of a WAV file; numbers wrap."""
    align = channels * bits // 8 if align is None else align
    return (b"RIFF" + struct.pack("<I", (size + 36) % 2**32) + b"WAVEfmt "
            + struct.pack("<IHHIIHH", 16, form, channels % 2**16, rate % 2**32,
                          rate * align % 2**32, align % 2**16, bits)
            + b"data" + struct.pack("<I", size % 2**32))  # fmt: skip


def wav(corpus: Corpus) -> None:
    corpus.group = "wav"
    sound = (mediafiles.tone(440, 1, RATE) * 20_000).astype("<i2").tobytes()
    n = len(sound)
    corpus.add("4-gb.wav", header(size=4_000_000_000) + sound, "4 GB declared, 1 s held",
               "a")  # fmt: skip
    corpus.add("streamed.wav", header(size=2**32 - 1) + sound, "unknown size, as written to a pipe",
               "a")  # fmt: skip
    corpus.add("arecord.wav", header(size=0x7FFFFFFF - 36) + sound, "size of a pipe", "a")
    corpus.add("sox.wav", header(size=0x7FFFF000) + sound, "size of another pipe", "a")
    corpus.add("pad.wav", header(size=n + 1) + sound, "no pad byte", "a")
    corpus.add("short.wav", header(size=n + 2) + sound, "two bytes less than declared", "-",
               "truncated")  # fmt: skip
    corpus.add("size-0.wav", header(size=0) + sound, "0 bytes declared, 1 s held", "a|-")
    corpus.add("channels-65535.wav", header(65535, size=n) + sound, "65535 channels", "-")
    corpus.add("channels-500.wav", header(500, size=n) + sound, "500 channels", "a|-")
    corpus.add("channels-0.wav", header(0, size=n) + sound, "0 channels", "-")
    corpus.add("4-ghz.wav", header(rate=4_000_000_000, size=n) + sound, "4 GHz", "-")
    corpus.add("2-ghz.wav", header(rate=2_000_000_000, size=n) + sound, "2 GHz", "-")
    corpus.add("10-mhz.wav", header(rate=10_000_000, size=n) + sound, "10 MHz", "a|-")
    corpus.add("1-hz.wav", header(rate=1, size=n) + sound, "1 Hz: 48,000 s", "-|a", TOO_LONG)
    corpus.add("0-hz.wav", header(rate=0, size=n) + sound, "0 Hz", "-")
    corpus.add("align-0.wav", header(size=n, align=0) + sound, "block align 0", "a|-")
    corpus.add("bits-0.wav", header(size=n, bits=0) + sound, "0 bits a sample", "a|-")
    corpus.add("bits-255.wav", header(size=n, bits=255) + sound, "255 bits a sample", "a|-")
    corpus.add("format-unknown.wav", header(size=n, form=0x7777) + sound, "unknown format", "-")
    floats = np.full(RATE, np.nan, "<f4")
    floats[::3], floats[1::3] = np.inf, 1e38
    corpus.add("nan.wav", header(size=4 * RATE, bits=32, form=3) + floats.tobytes(),
               "samples are NaN, infinite and 1e38", "a|-")  # fmt: skip
    corpus.add("one-sample.wav", header(size=2) + sound[:2], "one sample", "a|-")
    corpus.add("silence.wav", header(size=n) + bytes(n), "one second of zeros", "a")


def lies(corpus: Corpus, whole: dict[str, bytes]) -> None:
    corpus.group = "lies"
    webm = whole["a.webm"]
    for name, mark in (("segment", b"\x18\x53\x80\x67"), ("cluster", b"\x1f\x43\xb6\x75"),
                       ("tracks", b"\x16\x54\xae\x6b"), ("ebml", b"\x1a\x45\xdf\xa3")):  # fmt: skip
        at = webm.index(mark) + 4
        length = 9 - webm[at].bit_length()  # bytes of the size that is there
        for what, size in (("2-56", b"\1" + number(2**56 - 2, 7)), ("unknown", b"\1" + b"\xff" * 7),
                           ("0", b"\x80")):  # fmt: skip
            whole_again = what == "unknown" and name in ("segment", "cluster")
            corpus.add(f"{name}-{what}.webm", webm[:at] + size + webm[at + length :],
                       f"EBML size of {name}: {what}", "va" if whole_again else "va|v|a|-",
                       f"{CUT}|{TOO_LONG}")  # fmt: skip
    at = webm.index(b"\x44\x89\x88") + 3
    for name, value in (("4-hours", 14_400_000.0), ("nan", float("nan")), ("negative", -5.0),
                        ("inf", float("inf")), ("1e300", 1e300)):  # fmt: skip
        corpus.add(f"duration-{name}.webm", webm[:at] + struct.pack(">d", value) + webm[at + 8 :],
                   f"duration {value}", "-" if name == "4-hours" else "va|-", TOO_LONG)  # fmt: skip
    at = webm.index(b"\x2a\xd7\xb1\x83") + 4
    for scale in (0, 1, 0xFFFFFF):
        corpus.add(f"scale-{scale}.webm", webm[:at] + number(scale, 3) + webm[at + 3 :],
                   f"nanoseconds a tick: {scale}", "va|-", f"{CUT}|{TOO_LONG}")  # fmt: skip
    flv = whole["a.flv"]
    for key, value in ((b"duration", 14_400.0), (b"duration", -1.0), (b"framerate", 0.0),
                       (b"framerate", -25.0), (b"framerate", 1e300)):  # fmt: skip
        at = flv.index(key) + len(key) + 1
        lie = flv[:at] + struct.pack(">d", value) + flv[at + 8 :]
        wanted = "-" if value == 14_400.0 else "va"
        corpus.add(f"{key.decode()}-{value:g}.flv", lie, f"{key.decode()} = {value}", wanted,
                   TOO_LONG)  # fmt: skip
    avi = whole["a.avi"]
    at = avi.index(b"avih") + 8
    for usec in (0, 1, 2**32 - 1):
        corpus.add(f"avih-{usec}.avi", avi[:at] + struct.pack("<I", usec) + avi[at + 4 :],
                   f"microseconds a frame: {usec}", "va|-", f"{CUT}|{TOO_LONG}")  # fmt: skip
    at = avi.index(b"strh") + 8 + 20
    for scale, rate in ((0, 0), (1, 0), (0, 1), (1, 2**31), (2**31, 1), (2**32 - 1, 1)):
        lie = avi[:at] + struct.pack("<II", scale, rate) + avi[at + 8 :]
        corpus.add(f"strh-{scale}-{rate}.avi", lie, f"frame rate {rate}/{scale}", "va|-",
                   f"{CUT}|{TOO_LONG}")  # fmt: skip


def tags(corpus: Corpus, whole: dict[str, bytes]) -> None:
    """Titles in old encodings, and of absurd length: the film itself is good."""
    corpus.group = "tags"
    latin = b"Caf\xe9 \x83\x65\x83\x58\xff"
    v1 = b"TAG" + latin.ljust(125, b"\0")
    corpus.add("id3v1.mp3", whole["a.mp3"] + v1, "an ID3v1 title that is no UTF-8", "a")
    field = b"TIT2" + number(len(latin) + 1) + b"\0\0\3" + latin
    v2 = b"ID3\3\0\0" + number(len(field)) + field
    corpus.add("id3v2.mp3", v2 + whole["a.mp3"], "an ID3v2 title that is no UTF-8", "a")
    avi = whole["a.avi"]
    at = avi.index(b"LIST", avi.index(b"hdrl") + 4)
    while avi[at + 8 : at + 12] == b"strl":
        at += 8 + int.from_bytes(avi[at + 4 : at + 8], "little")
    info = b"INFOINAM" + struct.pack("<I", len(latin)) + latin + b"\0" * (len(latin) % 2)
    info = b"LIST" + struct.pack("<I", len(info)) + info
    at = avi.index(b"movi") - 8
    riff = struct.pack("<I", int.from_bytes(avi[4:8], "little") + len(info))
    corpus.add("info.avi", avi[:4] + riff + avi[8:at] + info + avi[at:],
               "an INFO title that is no UTF-8", "va")  # fmt: skip
    mp4 = encode(corpus.root, "a.mp4", "libx264", "aac")
    handler = mp4.index(b"VideoHandler")
    corpus.add("handler.mp4", mp4[:handler] + b"Vid\xe9\xff" + mp4[handler + 5 :],
               "a handler name that is no UTF-8", "va")  # fmt: skip
    title = box(b"\xa9nam", number(len(latin), 2) + b"\x15\xc7" + latin)
    header = find(mp4, "moov/mvhd")
    grown = mp4[header.start : header.start + header.size] + box(b"udta", title)
    corpus.add("udta.mp4", swap(mp4, "moov/mvhd", grown), "a title that is no UTF-8", "va")
    flv = encode(corpus.root, "a.flv", "flv1", "libmp3lame", sound_rate=44_100, options={})
    encoder = flv.index(b"Lavf")
    corpus.add("meta.flv", flv[:encoder] + b"\xe9\xffvf" + flv[encoder + 4 :],
               "a tag that is no UTF-8", "va")  # fmt: skip
    webm = whole["a.webm"]
    encoder = webm.index(b"Lavf")
    corpus.add("app.webm", webm[:encoder] + b"\xe9\xffvf" + webm[encoder + 4 :],
               "a tag that is no UTF-8", "va")  # fmt: skip
    large = b"TXXX" + number(20_000_000) + b"\0\0\0" + bytes(20_000_000)
    corpus.add("20-mb.mp3", b"ID3\3\0\0" + bytes([9, 69, 45, 10]) + large[:20_000_010]
               + whole["a.mp3"], "an ID3v2 tag of 20 MB", "a|-")  # fmt: skip


def bombs(corpus: Corpus) -> None:
    corpus.group = "bomb"
    tall = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0\0\0\0\xff\xff\xff"
    frame = b"\x21\xf9\4\0\1\0\0\0" + b"\x2c" + bytes(4) + b"\1\0\1\0\0" + b"\2\2\x44\1\0"
    corpus.add(
        "canvas.gif", tall + frame * 3 + b";", "a canvas of 65535 x 65535", "-", f"{PIXELS}|{CUT}"
    )
    wide = b"GIF89a" + struct.pack("<HH", 6000, 6000) + b"\x80\0\0\0\0\0\xff\xff\xff"
    corpus.add("frames.gif", wide + frame * 4000 + b";", "4000 frames on a canvas of 6000 x 6000",
               "-|v", TOO_LONG)  # fmt: skip
    small = b"GIF89a" + struct.pack("<HH", 4, 4) + b"\x80\0\0\0\0\0\xff\xff\xff"
    corpus.add("many.gif", small + frame * 50_000 + b";", "50,000 frames of 4 x 4", "v|-", TOO_LONG)
    picture = io.BytesIO()
    Image.fromarray(noise(1)[0]).save(picture, "JPEG")
    good = picture.getvalue()
    at = good.index(b"\xff\xc0") + 5
    bad = good[:at] + struct.pack(">HH", 20_000, 20_000) + good[at + 4 :]
    for name, pictures, wanted in (("one", [good] * 9 + [bad] + [good] * 9, "v|-"),
                                   ("half", [good, bad] * 10, "-"),
                                   ("all", [bad] * 10, "-")):  # fmt: skip
        path = corpus.case(f"jpegs-{name}.mkv", "Motion JPEG; pictures of 20000 x 20000 between "
                           "pictures of 64 x 48", wanted, f"{PIXELS}|{CUT}")  # fmt: skip
        mux(path, "mjpeg", pictures)
    path = corpus.case("8k.mkv", "one frame of 7680 x 4320", "v")
    mediafiles.write(path, mediafiles.plain((200, 100, 50), 1, (7680, 4320)), codec="mjpeg",
                     pixels="yuvj420p", options={"fflags": "bitexact"})  # fmt: skip
    for width, height in ((1, 1), (1, 999), (999, 1), (33, 17), (7, 5)):
        path = corpus.case(f"{width}x{height}.avi", "an odd size", "v")
        mediafiles.write(path, mediafiles.plain((200, 100, 50), 4, (width, height)),
                         codec="rawvideo", pixels="bgr24",
                         options={"fflags": "bitexact"})  # fmt: skip


def mux(path: Path, codec: str, pictures: list[bytes]) -> None:
    """Packets as they are; the header says 64 x 48."""
    with av.open(str(path), "w", options={"fflags": "bitexact"}) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for i, content in enumerate(pictures):
            packet = av.Packet(content)
            packet.stream, packet.pts, packet.dts = stream, i, i
            packet.time_base = 1 / stream.codec_context.framerate
            packet.is_keyframe = True
            container.mux(packet)


def long_sound(corpus: Corpus) -> None:
    """Silence: seconds of work become hours of sound in few bytes."""
    corpus.group = "long"
    for hours, wanted in ((1, "a"), (3, "-")):
        path = corpus.case(
            f"silence-{hours}-h.flac", f"{hours} h of silence", wanted, "longer|long"
        )
        with av.open(str(path), "w") as container:
            stream = container.add_stream("flac", rate=8000, layout="mono")
            for minute in range(60 * hours):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 480_000), np.int16), "s16", "mono")
                frame.sample_rate, frame.pts = 8000, minute * 480_000
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    path = corpus.case("sparse.wav", "300 MB of zeros in a sparse file: 52 minutes of silence", "a")
    with path.open("wb") as file:
        file.write(header(size=300_000_000))
        file.truncate(300_000_044)
    path = corpus.case("sparse-zeros.mp4", "1 GB of zeros in a sparse file", "-", CUT)
    with path.open("wb") as file:
        file.truncate(10**9)
    path = corpus.case("sparse-large.mp4", "a sparse file above max_bytes", "-", "bytes, more than")
    with path.open("wb") as file:
        file.truncate(2_000_000_001)
