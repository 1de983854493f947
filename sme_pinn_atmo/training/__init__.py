"""Training: data sets, loss, loop. Needs torch (the extra `train`); nothing here is imported at run time."""
