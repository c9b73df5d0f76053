"""Hostile MP4 files: cut at every box, lying headers, impossible tables, bombs."""

from pathlib import Path

import av
import mediafiles
import numpy as np
from boxes import Box, box, boxes, edit, find, h264_header, number, swap, with_h264_header
from corpus import CUT, PIXELS, TOO_LONG, Corpus

HUGE = 0xFFFFFFF0
MVHD, TKHD, MDHD = "moov/mvhd", "moov/trak/tkhd", "moov/trak/mdia/mdhd"
STBL = "moov/trak/mdia/minf/stbl"


def noise(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(n)]


def base(folder: Path, **options: str) -> bytes:
    """4 s of noise and a tone."""
    path = folder / "base.mp4"
    mediafiles.write(path, noise(40), mediafiles.tone(440, 4), options=options)
    content = path.read_bytes()
    path.unlink()
    return content


def packets(content: bytes, folder: Path, kind: str) -> list[tuple[int, int]]:
    """(position, size) of every packet of the streams of one kind."""
    path = folder / "packets.mp4"
    path.write_bytes(content)
    with av.open(str(path)) as container:
        streams = [s for s in container.streams if s.type == kind]
        result = [(p.pos, p.size) for p in container.demux(streams) if p.size]
    path.unlink()
    return result


def spoil(content: bytes, places: list[tuple[int, int]], seed: int = 1) -> bytes:
    """Random bytes in these places."""
    rng = np.random.default_rng(seed)
    broken = bytearray(content)
    for position, size in places:
        broken[position : position + size] = rng.bytes(size)
    return bytes(broken)


def label(b: Box) -> str:
    return b.path.replace("/", ".")


def places(content: bytes, within: str = "") -> list[tuple[str, int]]:
    """The boundary and the inside of every box."""
    result = []
    for b in boxes(content):
        if b.path.startswith(within):
            if b.start:
                result.append((f"{label(b)}-start", b.start))
            result.append((f"{label(b)}-inside", b.start + max(8, b.size // 2)))
    return result


def make(corpus: Corpus) -> None:
    whole = base(corpus.root)
    cuts(corpus, whole)
    sizes(corpus, whole)
    times(corpus, whole)
    tables(corpus, whole)
    pictures(corpus, whole)
    packets_lost(corpus, whole)


def cuts(corpus: Corpus, whole: bytes) -> None:
    corpus.group = "mp4-cut"
    harmless = ("sgpd", "sbgp", "udta")  # what comes from there on is no sample
    for place in places(whole):
        lost = not any(f".{kind}-" in place[0] for kind in harmless)
        corpus.cuts("end.mp4", whole, [place], "-" if lost else "va|-")
    moov = find(whole, "moov")
    corpus.add(
        "no-moov.mp4", whole[: moov.start] + whole[moov.start + moov.size :], "moov left out", "-"
    )
    fast = base(corpus.root, movflags="faststart")
    corpus.cuts("fast.mp4", fast, places(fast))
    at = find(fast, "mdat")
    for share in (0.1, 0.5, 0.9):
        kept = at.body + int(at.size * share)
        corpus.cuts("fast.mp4", fast, [(f"mdat-{share:g}", kept)], reason="truncated")
    frag = base(
        corpus.root, movflags="empty_moov+default_base_moof+delay_moov", frag_duration="500000"
    )
    corpus.group = "mp4-fragments-cut"
    for b in boxes(frag):
        if "/" in b.path:
            continue
        first = b.path in ("ftyp", "moov", "moof")
        if b.start:
            corpus.cuts(
                "frag.mp4", frag, [(f"{b.path}-start", b.start)],
                "-" if first or b.path == "mdat" else "va" if "moof" in b.path else "va|-",
            )  # fmt: skip
        inside = b.start + b.size // 2
        wanted = "-" if first else "va|-"
        corpus.cuts("frag.mp4", frag, [(f"{b.path}-inside", inside)], wanted)


def sizes(corpus: Corpus, whole: bytes) -> None:
    corpus.group = "mp4-box-size"
    for name, path, new, wanted in (
        ("mdat-0", "mdat", 0, "-"),
        ("mdat-1", "mdat", 1, "-"),
        ("mdat-7", "mdat", 7, "-"),
        ("mdat-huge", "mdat", HUGE, "-"),
        ("moov-0", "moov", 0, "va"),
        ("moov-1", "moov", 1, "-"),
        ("moov-7", "moov", 7, "-"),
        ("moov-huge", "moov", HUGE, "va|-"),
        ("trak-0", "moov/trak", 0, "va|v|a|-"),
        ("trak-huge", "moov/trak", HUGE, "va|v|a|-"),
        ("stbl-huge", STBL, HUGE, "va|v|a|-"),
        ("stsd-7", f"{STBL}/stsd", 7, "va|v|a|-"),
        ("ftyp-huge", "ftyp", HUGE, "-"),
        ("ftyp-0", "ftyp", 0, "-"),
    ):
        corpus.add(f"{name}.mp4", edit(whole, path, -8, number(new)), f"size of {path} = {new}",
                   wanted)  # fmt: skip
    at = find(whole, "mdat").start
    for name, large in (("overflow", 2**63 - 1), ("negative", -16), ("beyond", 1 << 40)):
        head = number(1) + b"mdat" + number(large, 8)
        corpus.add(f"mdat-64-{name}.mp4", whole[:at] + head + whole[at + 8 :],
                   f"mdat with a 64-bit size of {large}", "-")  # fmt: skip
    nested = b""
    for _ in range(3000):
        nested = box(b"moov", nested)
    ftyp = whole[: find(whole, "ftyp").size]
    corpus.add("nested-moov.mp4", ftyp + nested, "3000 moov boxes in each other", "-")
    nested = b""
    for _ in range(3000):
        nested = box(b"trak", nested)
    corpus.add("nested-trak.mp4", ftyp + box(b"moov", nested), "3000 trak boxes in each other", "-")
    endless = number(16) + b"moov" + number(0) + b"moov"
    corpus.add("moov-in-itself.mp4", ftyp + endless * 50, "moov boxes of size 0 in moov boxes", "-")
    for n, wanted in ((200, "va"), (2000, "va|-")):
        moov = find(whole, "moov")
        sound = find(whole, "moov/trak1")
        track = whole[sound.start : sound.start + sound.size]
        corpus.add(f"tracks-{n}.mp4", swap(whole, "moov/trak1", track * n), f"{n} sound tracks",
                   wanted)  # fmt: skip
    assert moov.start > find(whole, "mdat").start, "no chunk offset moves"


def times(corpus: Corpus, whole: bytes) -> None:
    corpus.group = "mp4-time"
    for name, path in (("mvhd", MVHD), ("mdhd", MDHD)):
        for scale in (0, 1, 2**31 - 1, 2**32 - 1):
            reason = f"{TOO_LONG}|{CUT}"
            corpus.add(f"{name}-scale-{scale}.mp4", edit(whole, path, 12, number(scale)),
                       f"timescale of {name} = {scale}", "va|-", reason)  # fmt: skip
    four_hours = whole
    for track in ("moov/trak", "moov/trak1"):
        scale = find(whole, f"{track}/mdia/mdhd").body + 12
        ticks = 14400 * int.from_bytes(whole[scale : scale + 4], "big")
        four_hours = edit(four_hours, f"{track}/mdia/mdhd", 16, number(ticks))
        four_hours = edit(four_hours, f"{track}/tkhd", 20, number(14_400_000))
        four_hours = edit(four_hours, f"{track}/edts/elst", 8, number(14_400_000))
    four_hours = edit(four_hours, MVHD, 16, number(14_400_000))
    corpus.add("four-hours.mp4", four_hours, "every header says 4 h; the tables say 4 s", "va|-",
               TOO_LONG)  # fmt: skip
    corpus.add("mvhd-four-hours.mp4", edit(whole, MVHD, 16, number(14_400_000)),
               "mvhd alone says 4 h; the tables say 4 s", "va|-", TOO_LONG)  # fmt: skip
    for name, path, at in (("mvhd", MVHD, 16), ("mdhd", MDHD, 16), ("tkhd", TKHD, 20)):
        for value in (0, 0xFFFFFFFF, 0x80000000):
            reason = f"{TOO_LONG}|{CUT}"
            wanted = "va" if value == 0 or name == "tkhd" else "va|-"
            corpus.add(f"{name}-duration-{value:x}.mp4", edit(whole, path, at, number(value)),
                       f"duration of {name} = {value:#x}", wanted, reason)  # fmt: skip
    old = find(whole, MDHD)
    body = whole[old.body : old.start + old.size]
    version1 = b"\1\0\0\0" + bytes(16) + body[12:16] + number(-5, 8) + body[20:]
    corpus.add("mdhd-negative.mp4", swap(whole, MDHD, box(b"mdhd", version1)),
               "64-bit duration of -5 in mdhd", "va|-")  # fmt: skip
    elst = "moov/trak/edts/elst"
    for name, entries, wanted in (
        ("cuts-everything", [(4000, 10**9)], "va|a|-"),
        ("empty-only", [(4000, -1)], "va|a|-"),
        ("two-hours-empty", [(7_000_000, -1), (4000, 1024)], "va|-"),
        ("duration-0", [(0, 1024)], "va|a|-"),
        ("repeats", [(4000, 1024)] * 2000, "va|-"),
        ("negative", [(-4000, -1024)], "va|a|-"),
    ):
        body = bytes(4) + number(len(entries))
        body += b"".join(number(d) + number(t) + number(65536) for d, t in entries)
        corpus.add(f"elst-{name}.mp4", swap(whole, elst, box(b"elst", body)),
                   f"edit list of the picture: {name}", wanted, f"{TOO_LONG}|{CUT}")  # fmt: skip
    corpus.add("elst-count.mp4", edit(whole, elst, 4, number(HUGE)),
               "an edit list of 4 billion entries", "va|-")  # fmt: skip
    for name, delta in (("0", 0), ("1", 1), ("7fffffff", 2**31 - 1), ("ffffffff", 2**32 - 1)):
        body = bytes(4) + number(1) + number(40) + number(delta)
        corpus.add(f"stts-delta-{name}.mp4", swap(whole, f"{STBL}/stts", box(b"stts", body)),
                   f"frames {delta} ticks apart", "va|-", f"{TOO_LONG}|{CUT}")  # fmt: skip
    for name, shift in (("jumps", [0, 10**6] * 20), ("back", [-(10**6) * i for i in range(40)]),
                        ("overflow", [2**31 - 1, -(2**31)] * 20)):  # fmt: skip
        body = b"\1\0\0\0" + number(40) + b"".join(number(1) + number(s) for s in shift)
        corpus.add(f"ctts-{name}.mp4", swap(whole, f"{STBL}/ctts", box(b"ctts", body)),
                   f"presentation times: {name}", "va|-", f"{TOO_LONG}|{CUT}")  # fmt: skip


def tables(corpus: Corpus, whole: bytes) -> None:
    corpus.group = "mp4-tables"
    any_of = "va|v|a|-"
    for kind, at in (("stts", 4), ("stsc", 4), ("stsz", 8), ("stco", 4), ("ctts", 4), ("stss", 4),
                     ("stsd", 4)):  # fmt: skip
        for count in (HUGE, 0x0FFFFFFF, 0):
            corpus.add(f"{kind}-count-{count:x}.mp4", edit(whole, f"{STBL}/{kind}", at,
                       number(count)), f"{kind} with {count} entries", any_of)  # fmt: skip
    for name, at, value in (("one", 12, 0x7FFFFFF0), ("all", 4, 10**9), ("minus", 12, -1)):
        corpus.add(f"stsz-beyond-{name}.mp4", edit(whole, f"{STBL}/stsz", at, number(value)),
                   "sample sizes beyond the file", any_of if name != "all" else "-")  # fmt: skip
    corpus.add("stsz-zero.mp4", edit(whole, f"{STBL}/stsz", 12, bytes(160)),
               "all samples have no bytes", "-|a")  # fmt: skip
    count = 40
    for name, offset in (("overflow", 2**63 - 1), ("negative", -1), ("beyond", 1 << 40), ("0", 0)):
        body = bytes(4) + number(count) + number(offset, 8) * count
        corpus.add(f"co64-{name}.mp4", swap(whole, f"{STBL}/stco", box(b"co64", body)),
                   f"chunks at {offset}", "-")  # fmt: skip
    stco = find(whole, f"{STBL}/stco")
    middle = stco.body + 8 + 4 * 20
    corpus.add("stco-one-beyond.mp4", whole[:middle] + number(2**31 - 1) + whole[middle + 4 :],
               "one chunk in the middle lies behind the end", "va|-")  # fmt: skip
    body = bytes(4) + number(1) + number(1) + number(2**31 - 1) + number(1)
    corpus.add("stsc-huge.mp4", swap(whole, f"{STBL}/stsc", box(b"stsc", body)),
               "2 billion samples in a chunk", any_of)  # fmt: skip
    other = b"file:///etc/passwd\0"
    dref = bytes(4) + number(1) + box(b"url ", bytes(4) + other)
    dinf = box(b"dinf", box(b"dref", dref))
    corpus.add("dref.mp4", swap(whole, "moov/trak/mdia/minf/dinf", dinf),
               "the data reference names another file", any_of)  # fmt: skip
    rdrf = box(b"rmda", box(b"rdrf", bytes(4) + b"url " + number(19) + other))
    corpus.add("rmra.mp4", whole[: find(whole, "ftyp").size] + box(b"moov", box(b"rmra", rdrf)),
               "a reference movie that names another file", "-")  # fmt: skip
    at = find(whole, f"{STBL}/stsd").body + 12
    corpus.add("codec-unknown.mp4", whole[:at] + b"zzzz" + whole[at + 4 :],
               "the picture has an unknown codec", "a|-")  # fmt: skip
    corpus.add("codec-wrong.mp4", whole[:at] + b"hvc1" + whole[at + 4 :],
               "H.264 declared as HEVC", "va|a|-")  # fmt: skip
    corpus.add("handler-text.mp4", edit(whole, "moov/trak/mdia/hdlr", 8, b"text"),
               "the picture track declares text", "a|va|-")  # fmt: skip


def pictures(corpus: Corpus, whole: bytes) -> None:
    corpus.group = "mp4-picture"
    side = number(30000, 2) * 2
    stsd = edit(whole, f"{STBL}/stsd", 40, side)
    corpus.add("stsd-30000.mp4", stsd, "the sample entry says 30000 x 30000; the stream 64 x 48",
               "va|-", PIXELS)  # fmt: skip
    tkhd = edit(stsd, TKHD, 76, number(30000 << 16) * 2)
    for big in (30000, 16000, 8000):
        bomb = with_h264_header(tkhd, h264_header(big // 16 * 16, big // 16 * 16))
        corpus.add(f"sps-{big}.mp4", bomb, f"tkhd, avc1 and SPS declare {big} x {big}", "-",
                   f"{PIXELS}|{CUT}")  # fmt: skip
    for name, matrix in (
        ("zero", bytes(36)),
        ("max", b"\x7f\xff\xff\xff" * 9),
        ("min", b"\x80\0\0\0" * 9),
        ("tiny", number(1) * 9),
        ("shear", number(65536) * 9),
        ("mirror", number(-65536) + bytes(12) + number(65536) + bytes(12) + number(1 << 30)),
    ):
        corpus.add(f"matrix-{name}.mp4", edit(whole, TKHD, 40, matrix),
                   f"display matrix: {name}", "va")  # fmt: skip
    old = find(whole, f"{STBL}/stsd")
    body = whole[old.body : old.start + old.size]
    at = body.index(b"pasp") + 4 if b"pasp" in body else None
    for name, ratio in (("wide", (2**31 - 1, 1)), ("tall", (1, 2**31 - 1)), ("zero", (0, 0)),
                        ("negative", (-3, 2))):  # fmt: skip
        pasp = number(ratio[0]) + number(ratio[1])
        if at is None:
            grown = bytearray(body + box(b"pasp", pasp))
            grown[8:12] = number(int.from_bytes(body[8:12], "big") + 16)
        else:
            grown = bytearray(body[:at] + pasp + body[at + 8 :])
        corpus.add(f"pasp-{name}.mp4", swap(whole, f"{STBL}/stsd", box(b"stsd", bytes(grown))),
                   f"pixel aspect ratio {ratio}", "va")  # fmt: skip


def packets_lost(corpus: Corpus, whole: bytes) -> None:
    corpus.group = "mp4-packets"
    video = packets(whole, corpus.root, "video")
    audio = packets(whole, corpus.root, "audio")
    corpus.add("sound-garbage.mp4", spoil(whole, audio), "all sound packets random", "-", "damaged")
    corpus.add("picture-garbage.mp4", spoil(whole, video), "all picture packets random", "-",
               "damaged")  # fmt: skip
    corpus.add("all-garbage.mp4", spoil(whole, video + audio), "all packets random", "-",
               "damaged")  # fmt: skip
    corpus.add("sound-half.mp4", spoil(whole, audio[::2]), "every second sound packet random", "-",
               "damaged")  # fmt: skip
    corpus.add("one-bad.mp4", spoil(whole, video[20:21] + audio[50:51]), "one of each random",
               "va")  # fmt: skip
    corpus.add("no-keyframe.mp4", spoil(whole, video[:1]), "the only keyframe is random", "va|-",
               "damaged")  # fmt: skip
    corpus.add("zeros.mp4", whole[:48] + bytes(find(whole, "mdat").size - 8)
               + whole[find(whole, "moov").start :], "mdat is all zeros", "-")  # fmt: skip
    source, cut = corpus.root / "source.mp4", corpus.case(
        "first-dropped.mkv", "remuxed without the keyframe", "va|a|-"
    )  # fmt: skip
    source.write_bytes(whole)
    with (
        av.open(str(source)) as inside,
        av.open(str(cut), "w", options={"fflags": "bitexact"}) as outside,
    ):
        streams = {s.index: outside.add_stream_from_template(s) for s in inside.streams}
        keyframe = True
        for packet in inside.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video" and keyframe:
                keyframe = False
                continue
            packet.stream = streams[packet.stream.index]
            outside.mux(packet)
    source.unlink()
