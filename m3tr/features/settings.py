"""Settings of the content features: encoders, sampling, limits (`features:` in params.yaml)."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class VisualSettings(_Frozen):
    """How the picture is read: one token a sampled frame."""

    encoder: str = Field(
        default="signal",
        min_length=1,
        description="'signal', or a folder or hub id of a vision checkpoint",
    )
    frames: int = Field(
        default=6, ge=1, le=64, description="frames sampled at equal distances in time"
    )


class AudioSettings(_Frozen):
    """How the sound is read: one token a segment."""

    encoder: str = Field(
        default="signal",
        min_length=1,
        description="'signal', or a folder or hub id of an audio checkpoint",
    )
    segments: int = Field(default=4, ge=1, le=64, description="equal parts the sound is cut into")
    sample_rate: int = Field(
        default=16_000, ge=8_000, le=48_000, description="Hz, after resampling"
    )
    max_seconds: float = Field(
        default=120.0, gt=0, description="only this much of the beginning is heard"
    )


class TextSettings(_Frozen):
    """How title and description are read: one token each."""

    encoder: str = Field(
        default="signal",
        min_length=1,
        description="'signal', or a folder or hub id of a text checkpoint",
    )
    max_characters: int = Field(
        default=4_000, ge=1, description="of the title and of the description"
    )


class LimitSettings(_Frozen):
    """What one media file may cost; a file beyond a limit is quarantined."""

    max_seconds_decoding: float = Field(default=20.0, gt=0, description="processor seconds a file")
    max_duration_s: float = Field(default=7_200.0, gt=0, description="length in seconds")
    max_pixels: int = Field(default=40_000_000, ge=1, description="width times height of a picture")
    max_bytes: int = Field(default=2_000_000_000, ge=1, description="size of the file")
    max_memory: int = Field(default=4_000_000_000, ge=1, description="bytes a worker may hold")


class FeatureSettings(_Frozen):
    """Everything the features stage can be told."""

    visual: VisualSettings = VisualSettings()
    audio: AudioSettings = AudioSettings()
    text: TextSettings = TextSettings()
    limits: LimitSettings = LimitSettings()
    engine: Literal["local", "ray"] = Field(
        default="local", description="this machine, or Ray Data on a cluster"
    )
    workers: int = Field(
        default=0, ge=0, description="decoding processes (Ray: actors); 0 = one a processor"
    )
    batch_size: int = Field(
        default=16, ge=1, description="frames, segments or texts in one pass of a network"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where pretrained encoders run; auto = the GPU if there is one"
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="of pretrained encoders; auto = float16 on a GPU, float32 on a processor",
    )
