"""Methods that alternate between the data and a prior: half-quadratic splitting, ADMM, FISTA."""
