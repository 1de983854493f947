"""What pyproject.toml cannot say: the plot library of the page is brought into the package when it is built."""

import runpy
import warnings

from setuptools import setup
from setuptools.command.build_py import build_py


class build_with_plot_library(build_py):
    def run(self) -> None:
        try:
            runpy.run_path("sme_pinn_atmo/explorer/plot_library.py")["bring"]()
        except RuntimeError as error:  # no network: `sme-pinn-atmo explore` tries again and says so
            warnings.warn(str(error), stacklevel=1)
        super().run()


setup(cmdclass={"build_py": build_with_plot_library})
