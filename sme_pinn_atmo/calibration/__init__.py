"""Line data that all stars share, calibrated on many stars at once, while each star keeps its own labels."""

from ..stars.corrections import Corrections, packaged_corrections
from .run import CalibratedStar, CalibratedWindow, Calibration, calibrate
from .shared import LineOptions
from .stars import CalibrationStar, packaged_stars, read_stars
from .writers import FORMATS, write_lines

__all__ = [
    "FORMATS", "CalibratedStar", "CalibratedWindow", "Calibration", "CalibrationStar", "Corrections", "LineOptions",
    "calibrate", "packaged_corrections", "packaged_stars", "read_stars", "write_lines",
]  # fmt: skip
