"""Vision checkpoints: ViT, DINO, CLIP, SigLIP, VideoMAE, convolutional networks."""

from collections.abc import Sequence

import numpy as np
import torch

from m3tr.features.pretrained.checkpoint import Checkpoint, load, refused
from m3tr.features.pretrained.passes import in_passes
from m3tr.features.pretrained.prepare import PreparePixels, Processor
from m3tr.features.settings import FeatureSettings

SIDE = 1_920  # frames up to Full HD reach the processor as they are, as with any other reader


class VisualNetwork:
    """Prepared frames or clips of several videos -> tokens.

    One token a frame: the projected vector of a two-tower model, else the mean of the last hidden
    state. A video network gives one token a tubelet in time, the mean over the picture.
    """

    def __init__(self, checkpoint: Checkpoint, clip: int, batch_size: int) -> None:
        self.checkpoint = checkpoint
        self.tubelet = int(getattr(checkpoint.model.config, "tubelet_size", 0)) if clip else 0
        self.steps = clip // self.tubelet if self.tubelet else 1
        self.rows = max(1, batch_size // clip) if clip else batch_size

    def __call__(self, prepared: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Arrays (T_i, 3, H, W) or (1, clip, 3, H, W) -> tokens (T_i, D) float32 each."""
        return in_passes(prepared, self.rows, self._run)

    @torch.inference_mode()
    def _run(self, rows: np.ndarray) -> np.ndarray:
        output = self.checkpoint.ask(pixel_values=self.checkpoint.tensor(rows))
        if self.checkpoint.two_towers:
            return self.checkpoint.array(output.pooler_output[:, None])
        hidden = output.last_hidden_state
        if hidden.ndim == 4:  # convolutional: (B, D, h, w)
            return self.checkpoint.array(hidden.float().mean((2, 3))[:, None])
        steps = hidden.reshape(len(hidden), self.steps, -1, hidden.shape[-1])  # time comes first
        return self.checkpoint.array(steps.float().mean(2))


def build(settings: FeatureSettings) -> tuple[PreparePixels, VisualNetwork, int, int]:
    """What the worker does, what the caller does, frames needed of a video, and their side."""
    name = settings.visual.encoder
    checkpoint = load(name, "visual", settings)
    config = checkpoint.model.config
    if config.model_type == "siglip2":
        reason = "SigLIP 2 of free resolution (NaFlex) is not read; take one of fixed resolution"
        raise refused(name, "visual", reason)
    clip = int(getattr(config, "num_frames", 0) or 0)
    prepare = PreparePixels(Processor.of(checkpoint.preparer), clip)
    network = VisualNetwork(checkpoint, clip, settings.batch_size)
    return prepare, network, clip or settings.visual.frames, SIDE
