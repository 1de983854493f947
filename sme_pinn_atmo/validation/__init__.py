"""The validation harness: what the emulator is worth, measured on spectra and structures."""
