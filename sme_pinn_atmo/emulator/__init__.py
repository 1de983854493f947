"""The emulator: a network with its labels, error bars and card, which turns stellar labels into model atmospheres.

In: the name or file of a model; labels (teff [K], logg [dex, cgs], m_h and alpha_m [dex], vturb [km/s], mass [Msun]),
scalars or arrays. Out: `ModelAtmosphere`, profiles in cgs and K, outermost layer first; their derivatives by label and
standard deviations. `model` is where to begin to read: it asks `labels` whether it may, `runtime` for the profiles and
`uncertainty` for the error bar. `network`, the same function in torch, is only there for those who ask for it by name.
"""

from .labels import Domain, DomainError
from .model import Emulator, Jacobian, ModelFileError, models, save_model, update_card, user_folder
from .runtime import Network
from .uncertainty import ErrorModel

__all__ = ["Domain", "DomainError", "Emulator", "ErrorModel", "Jacobian", "ModelFileError", "Network", "models",
           "save_model", "update_card", "user_folder"]  # fmt: skip
