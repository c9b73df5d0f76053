"""Settings of the simulated world."""

from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class SimulationSettings(BaseModel):
    """What may be changed about a world; its fixed constants are in `process` and `population`.

    See docs/simulation.md. Volumes are in natural-log units of the expected number of immigrants.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    videos: int = Field(400, ge=1, description="number of videos")
    seed: int = Field(7, ge=0, description="every random number is a function of it")
    start: AwareDatetime = Field(datetime(2025, 1, 6, tzinfo=UTC), description="first day, UTC")
    days: float = Field(120.0, gt=0, description="publication dates spread over this many days")
    followed_days: float = Field(10.0, ge=1, description="age at which a video's feedback ends")
    videos_per_creator: float = Field(4.0, gt=0)

    log_volume: float = Field(4.65, description="log immigrants at quality 0, 10,000 followers")
    quality_effect: float = Field(0.55, description="per standard deviation of quality")
    follower_effect: float = Field(0.25, description="elasticity in followers")
    volume_noise: float = Field(0.3, ge=0, description="sd of what nothing visible explains")
    topic_sharpness: float = Field(
        2.0, ge=0, description="how far the topic decides the trajectory class; 0 = not at all"
    )
    fake_burst_share: float = Field(0.05, ge=0, le=1, description="videos with bought likes")

    media: bool = Field(True, description="write media files (false: tables only)")
    no_audio_share: float = Field(0.04, ge=0, le=1)
    no_text_share: float = Field(0.04, ge=0, le=1)
    broken_share: float = Field(0.0125, ge=0, le=1, description="truncated files + text files")
