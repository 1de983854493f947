"""`python -m sme_pinn_atmo` is the command `sme-pinn-atmo`."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="sme-pinn-atmo")
