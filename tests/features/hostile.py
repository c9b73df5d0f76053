"""A corpus of hostile media files: made here, deterministic, each with the outcome it must have."""

from pathlib import Path

import hostile_containers
import hostile_mp4
import hostile_names
import hostile_stills
from corpus import Case, Corpus


def make(folder: Path) -> list[Case]:
    """Make all files below `folder` (a few more lie beside it, to be found by careless readers).

    Some are sparse; they take about 50 MB on the disk and some seconds.
    """
    folder.mkdir(parents=True)
    corpus = Corpus(folder)
    for part in (hostile_mp4, hostile_containers, hostile_stills, hostile_names):
        part.make(corpus)
    names = [case.name for case in corpus.cases]
    assert len(set(names)) == len(names)
    return corpus.cases
