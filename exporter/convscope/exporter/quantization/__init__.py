"""INT8 versions of bundles: calibration, rounding, bias correction, and the accuracy guard."""
