"""The default text encoder: hashed words and character n-grams, for any language.

256 numbers a text, nothing fitted, nothing downloaded: signed hashing is a sparse random
projection, so inner products are kept in expectation (Weinberger et al. 2009).
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HALF = 128
DIMENSION = 2 * HALF
# scripts written without spaces give one word a character; an emoji is a word too
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
WORD = rf"[{UNSPACED}]|[\u2600-\u27bf\U0001f300-\U0001faff]|[^\W{UNSPACED}]+"


@dataclass(frozen=True)
class SignalText:
    """Texts -> vectors (N, 256) float32 of unit length."""

    dimension: int = DIMENSION

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Hash words (1-2-grams) to one half and characters (3-5-grams) to the other.

        Parameters
        ----------
        texts : sequence of str
            In any language.

        Returns
        -------
        ndarray (N, 256) float32
            Unit length; zeros for a text with neither word nor three characters.
        """
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.preprocessing import normalize

        plain = [unicodedata.normalize("NFKC", text).lower() for text in texts]
        words = HashingVectorizer(
            n_features=HALF, token_pattern=WORD, ngram_range=(1, 2), lowercase=False
        )
        characters = HashingVectorizer(
            n_features=HALF, analyzer="char", ngram_range=(3, 5), lowercase=False
        )
        if not plain:
            return np.zeros((0, DIMENSION), np.float32)
        both = np.hstack([words.transform(plain).toarray(), characters.transform(plain).toarray()])
        return normalize(both).astype(np.float32)
