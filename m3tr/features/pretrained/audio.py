"""Audio checkpoints: AST, CLAP, wav2vec 2.0, HuBERT, the encoder of Whisper."""

from collections.abc import Sequence

import numpy as np
import torch

from m3tr.features.pretrained.checkpoint import Checkpoint, load
from m3tr.features.pretrained.passes import in_passes
from m3tr.features.pretrained.prepare import PrepareSound, Processor
from m3tr.features.settings import FeatureSettings


class AudioNetwork:
    """Prepared segments of several videos -> one token a segment.

    The projected vector of a two-tower model, else the mean of the last hidden state. Segments of
    unequal length never share a pass, so there is no padding that a mask would have to hide (and
    that networks with group normalisation would hear all the same).
    """

    def __init__(self, checkpoint: Checkpoint, key: str, batch_size: int) -> None:
        self.checkpoint, self.key, self.rows = checkpoint, key, batch_size

    def __call__(self, prepared: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Arrays (T_i, ...) -> tokens (T_i, D) float32 each."""
        return in_passes(prepared, self.rows, self._run)

    @torch.inference_mode()
    def _run(self, rows: np.ndarray) -> np.ndarray:
        inputs = {self.key: self.checkpoint.tensor(rows)}
        if self.checkpoint.model.config.model_type == "clap":
            # no segment is longer than CLAP hears at once; its extractor marks one at random
            inputs["is_longer"] = torch.zeros(len(rows), 1, dtype=torch.bool)
        output = self.checkpoint.ask(**inputs)
        if self.checkpoint.two_towers:
            return self.checkpoint.array(output.pooler_output[:, None])
        return self.checkpoint.array(output.last_hidden_state.float().mean(1)[:, None])


def build(settings: FeatureSettings) -> tuple[PrepareSound, AudioNetwork, int]:
    """What the worker does, what the caller does, and the sample rate (Hz) that is needed."""
    checkpoint = load(settings.audio.encoder, "audio", settings)
    extractor = checkpoint.preparer
    rate = int(getattr(extractor, "sampling_rate", settings.audio.sample_rate))
    two = checkpoint.two_towers
    key = "input_features" if two else checkpoint.model.main_input_name
    longest = int(getattr(extractor, "nb_max_samples", 0))
    prepare = PrepareSound(
        Processor.of(extractor), key, settings.audio.segments, rate, longest if two else 0
    )
    return prepare, AudioNetwork(checkpoint, key, settings.batch_size), rate
