"""What a command answered, taken apart."""

from pathlib import Path


def sentence(told: tuple[int, str, str]) -> str:
    """The one sentence of a call that failed."""
    status, _, err = told
    assert status == 1, told
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def figures(out: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in out.splitlines() if ": " in line)
