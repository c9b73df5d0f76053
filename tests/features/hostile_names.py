"""Hostile media cells: names that mean something else, and what is not a regular file."""

import os
import socket
from pathlib import Path

import mediafiles
from corpus import Corpus

OUTSIDE, MISSING, REGULAR = "outside", "exist", "regular"
NOWHERE = "outside|exist|followed"


def good(folder: Path) -> bytes:
    """A small video with sound."""
    path = folder / "good.mp4"
    mediafiles.write(path, mediafiles.plain((90, 160, 30), 5), mediafiles.tone(300, 0.5))
    content = path.read_bytes()
    path.unlink()
    return content


def make(corpus: Corpus) -> None:
    content = good(corpus.root)
    cells(corpus, content)
    files(corpus, content)
    specials(corpus, content)


def cells(corpus: Corpus, content: bytes) -> None:
    """Cells that lead nowhere; the file itself lies where a careless reader would find it."""
    corpus.group = "cell"
    outside = corpus.root.parent / "outside.mp4"
    outside.write_bytes(content)
    folder = corpus.root / "cell"
    folder.mkdir(exist_ok=True)
    (folder / "there.mp4").write_bytes(content)
    for name, cell, reason in (
        ("up", "../outside.mp4", OUTSIDE), ("up-later", "cell/../../outside.mp4", OUTSIDE),
        ("absolute", str(outside), OUTSIDE), ("passwd", "/etc/passwd", OUTSIDE),
        ("up-many", "../" * 40 + "etc/passwd", OUTSIDE), ("root", "/", OUTSIDE),
        ("proc", "/proc/self/environ", OUTSIDE), ("stdin", "/dev/stdin", OUTSIDE),
        ("backslash", "..\\outside.mp4", NOWHERE), ("drive", "C:\\outside.mp4", NOWHERE),
        ("share", "\\\\host\\share\\a.mp4", NOWHERE), ("null", "cell/there.mp4\0.txt", "null"),
        ("null-only", "\0", "null"), ("long-300", "x" * 300, "followed|long|exist"),
        ("long-5000", "cell/" * 1000, f"{REGULAR}|followed|long|{MISSING}"),
        ("missing", "cell/none.mp4", MISSING), ("folder", "cell", REGULAR), ("dot", ".", REGULAR),
        ("up-itself", "..", f"{OUTSIDE}|{REGULAR}"), ("home", "~/outside.mp4", NOWHERE),
        ("variable", "$HOME/outside.mp4", NOWHERE), ("percent", "%2e%2e/outside.mp4", NOWHERE),
        ("below-a-file", "cell/there.mp4/x.mp4", f"{MISSING}|followed|{REGULAR}"),
        ("space", " ", MISSING), ("newline", "\n", MISSING), ("tab", "\t", MISSING),
        ("glob", "cell/*.mp4", MISSING), ("pattern", "cell/%05d.mp4", MISSING),
        ("http", "http://127.0.0.1:9/a.mp4", NOWHERE), ("pipe", "pipe:0", MISSING),
        ("concat", "concat:cell/there.mp4|cell/there.mp4", MISSING),
        ("data", "data:video/mp4;base64,AAAA", MISSING),
        ("subfile", "subfile,,start,0,end,9,,:cell/there.mp4", MISSING),
        ("file-url", f"file://{outside}", MISSING), ("lavfi", "lavfi:testsrc", MISSING),
        ("stream", "cell/there.mp4:stream", MISSING), ("surrogate-mark", "caf\ufffd.mp4", MISSING),
        ("right-to-left", "\u202e4pm.exe", MISSING), ("bom", "\ufeffcell/there.mp4", MISSING),
        ("fd", "/dev/fd/0", OUTSIDE), ("option", "-i", MISSING), ("sql", "'; DROP TABLE x; --",
        MISSING), ("markup", "<script>alert(1)</script>", MISSING),
    ):  # fmt: skip
        corpus.case(name, "a media cell", "-", reason, cell=cell)
    corpus.case("slash", "a trailing slash", "va|-", f"{REGULAR}|{MISSING}", cell="cell/there.mp4/")
    corpus.case("inside-up", "leaves the folder's part and comes back", "va",
                cell="cell/../cell/./there.mp4")  # fmt: skip
    name = corpus.root.name
    (folder / "again.mp4").write_bytes(content + b"\0\0\0\x08free")
    corpus.case("out-and-in", "leaves the data folder and comes back", "va|-", OUTSIDE,
                cell=f"../{name}/cell/again.mp4")  # fmt: skip


def files(corpus: Corpus, content: bytes) -> None:
    """Good files with odd names."""
    corpus.group = "name"
    for i, name in enumerate((
        "-i.mp4", "--help", "-", "file:a.mp4", "http:a.mp4", "http:", "concat:a.mp4|b.mp4",
        "pipe:0", "pipe:", "data:a", "fd:", "tcp:1", "lavfi:a", "cache:a.mp4", "crypto:a.mp4",
        "a*?[x].mp4",
        "%03d.mp4", "%d%s%n.mp4", "new\nline.mp4", "tab\t.mp4", "..\\outside.mp4", "C:\\a.mp4",
        "a b.mp4",
        "\U0001f600\U0001f468\u200d\U0001f469.mp4", "é\u0301\u202e.mp4", "x" * 251 + ".mp4",
        "...", "$HOME.mp4",
        "`touch x`.mp4", ";ls.mp4", "a'b\"c.mp4", "#.mp4", "a,b=c;d@e.mp4", "NUL", "a.mp4.",
        "{x}.mp4",
        "<b>.mp4", "a.m3u8", "\x1b[31m.mp4", "\x7f.mp4",
    )):  # fmt: skip
        # a trailing box keeps the bytes of any two files distinct
        corpus.add(name, content + b"\0\0\0\x0cfree" + i.to_bytes(4, "big"), "a good file", "va")


def specials(corpus: Corpus, content: bytes) -> None:
    corpus.group = "special"
    folder = corpus.root / "special"
    folder.mkdir(exist_ok=True)
    target = folder / "target.mp4"
    target.write_bytes(content + b"\0\0\0\x09freez")
    os.mkfifo(corpus.case("fifo.mp4", "a named pipe that nobody writes", "-", REGULAR))
    corpus.case("folder.mp4", "a folder", "-", REGULAR).mkdir()
    path = corpus.case("socket.mp4", "a socket", "-", REGULAR)
    descriptor = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:  # the short way round a limit of 107 bytes
        listener.bind(f"/proc/self/fd/{descriptor}/{path.name}")
    os.close(descriptor)
    for name, link, wanted, reason in (
        ("link-null", "/dev/null", "-", OUTSIDE), ("link-zero", "/dev/zero", "-", OUTSIDE),
        ("link-outside", str(corpus.root.parent / "outside.mp4"), "-", OUTSIDE),
        ("link-up", "../../outside.mp4", "-", OUTSIDE), ("link-dangling", "none.mp4", "-", MISSING),
        ("link-loop", "link-loop.mp4", "-", "followed|exist|loop"),
        ("link-loop-a", "link-loop-b.mp4", "-", "followed|exist|loop"),
        ("link-loop-b", "link-loop-a.mp4", "-", "followed|exist|loop"),
        ("link-inside", "target.mp4", "va", ""), ("link-fifo", "fifo.mp4", "-", REGULAR),
        ("link-proc", "/proc/self/fd/0", "-", f"{OUTSIDE}|{MISSING}"),
    ):  # fmt: skip
        corpus.case(f"{name}.mp4", f"a link to {link}", wanted, reason).symlink_to(link)
    (folder / "way").symlink_to("../..")
    corpus.case("linked-folder", "through a link to the folder above", "-", OUTSIDE,
                cell="special/way/outside.mp4")  # fmt: skip
    path = corpus.case(
        "unreadable.mp4", "mode 000; the process that reads has no privileges", "-",
        "permission|opened|read",
    )  # fmt: skip
    path.write_bytes(content + b"\0\0\0\x0afreeze")
    path.chmod(0)
    # a name that is no UTF-8 cannot stand in a table; a link with a good name may lead to it
    for name, real, bytes_, wanted in (
        ("to-latin-1", b"caf\xe9.mp4", content + b"\0\0\0\x0bfreezes", "va"),
        ("to-latin-1-bad", b"caf\xe9-bad.mp4", b"no film" * 20, "-"),
        ("to-latin-1-empty", b"caf\xe9-empty.mp4", b"", "-"),
        ("to-latin-1-still", b"caf\xe9.png", b"\x89PNG\r\n\x1a\n no still", "-"),
    ):
        with open(os.fsencode(folder) + b"/" + real, "wb") as file:
            file.write(bytes_)
        link = corpus.case(f"{name}.mp4", "a link to a name that is no UTF-8", wanted,
                           "not a readable|damaged|empty")  # fmt: skip
        link.symlink_to(os.fsdecode(real))
