"""The validation harness: what the emulator is worth, measured on spectra and structures.

In: models, computed structures, observed spectra. Out: errors in per cent, rms of normalised flux, labels in K and
dex, as tables, figures and pages. What a user asks of a model is here; what settled the method is in `experiments`.
"""
