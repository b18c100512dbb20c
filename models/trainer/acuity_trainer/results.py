"""What a measurement is: scores by clip and method, and the gain over the better plain scaler."""

from dataclasses import dataclass, field

# swscale's scalers that a network has to beat, by their FFmpeg names.
PLAIN = ("bicubic", "lanczos")


@dataclass
class Score:
    """One method on one clip: PSNR of the mean squared error over all frames, mean SSIM."""

    psnr_db: float
    ssim: float


@dataclass
class ClipResult:
    """All methods on one clip; `methods` by name, models by their id."""

    name: str
    frames: int
    kbps: float
    sha256: str
    methods: dict = field(default_factory=dict)

    def plain(self):
        """The better plain scaler's PSNR and the better plain SSIM."""
        return Score(max(self.methods[name].psnr_db for name in PLAIN), max(self.methods[name].ssim for name in PLAIN))

    def gain_db(self, model):
        """PSNR over the better plain scaler."""
        return self.methods[model].psnr_db - self.plain().psnr_db

    def ssim_gain(self, model):
        """SSIM over the better plain scaler's."""
        return self.methods[model].ssim - self.plain().ssim
