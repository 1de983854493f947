"""Line data that all stars share, calibrated on many stars at once, while each star keeps its own labels."""

from .run import CalibratedStar, CalibratedWindow, Calibration, calibrate
from .shared import LineOptions
from .stars import CalibrationStar, read_stars

__all__ = [
    "CalibratedStar", "CalibratedWindow", "Calibration", "CalibrationStar", "LineOptions", "calibrate", "read_stars",
]  # fmt: skip
