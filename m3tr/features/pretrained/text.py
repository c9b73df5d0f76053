"""Text checkpoints: BERT and kin, sentence encoders, the text towers of CLIP, SigLIP, CLAP."""

from collections.abc import Sequence

import numpy as np
import torch

from m3tr.features.pretrained.checkpoint import load, refused, short
from m3tr.features.pretrained.pooling import read
from m3tr.features.settings import FeatureSettings

MAX_TOKENS = 512


class PretrainedText:
    """Texts -> one vector each: pooled as the checkpoint says, or a tower's projected vector."""

    def __init__(self, settings: FeatureSettings) -> None:
        name = settings.text.encoder
        self.checkpoint = load(name, "text", settings)
        self.pooling = read(name)
        self.rows = settings.batch_size
        self.tokenizer = self.checkpoint.preparer
        self.tokenizer.padding_side = "right"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        limits = (self.tokenizer.model_max_length, self._positions(), self.pooling.length)
        self.length = min(MAX_TOKENS, *[limit for limit in limits if limit])
        # SigLIP was trained on texts filled up to its length, without a mask
        self.filled = self.checkpoint.model.config.model_type.startswith("siglip")

    def _positions(self) -> int | None:
        """Tokens that the network has positions for; None = any number."""
        positions = getattr(
            self.checkpoint.model.config.get_text_config(), "max_position_embeddings", None
        )
        embeddings = getattr(self.checkpoint.model, "embeddings", None)
        table = getattr(embeddings, "position_embeddings", None)
        padding = getattr(table, "padding_idx", None)  # RoBERTa and kin begin behind it
        return positions - padding - 1 if positions and padding is not None else positions

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """N texts -> vectors (N, D) float32; what is beyond the longest input is cut off."""
        said = [self.pooling.prompt + text for text in texts]
        told = self.tokenizer(
            said,
            truncation=True,
            max_length=self.length,
            padding="max_length" if self.filled else False,
            return_attention_mask=True,
        )
        lengths = [len(ids) for ids in told["input_ids"]]
        order = sorted(range(len(said)), key=lengths.__getitem__)  # little padding in a pass
        vectors: dict[int, np.ndarray] = {}
        for start in range(0, len(order), self.rows):
            part = order[start : start + self.rows]
            rows = {key: [told[key][i] for i in part] for key in told}
            vectors.update(zip(part, self._run(rows), strict=True))
        return np.stack([vectors[i] for i in range(len(said))])

    @torch.inference_mode()
    def _run(self, rows: dict[str, list[list[int]]]) -> np.ndarray:
        padded = self.tokenizer.pad(rows, return_tensors="np")
        inputs = {key: self.checkpoint.tensor(value) for key, value in padded.items()}
        mask = inputs["attention_mask"]
        if self.filled:
            del inputs["attention_mask"]
        output = self.checkpoint.ask(**inputs)
        if self.checkpoint.two_towers:
            return self.checkpoint.array(output.pooler_output)
        try:
            return self.checkpoint.array(self.pooling(output.last_hidden_state, mask))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # of matrices that do not fit
            reason = f"its dense layers do not fit its network: {short(error)}"
            raise refused(self.checkpoint.name, "text", reason) from None
