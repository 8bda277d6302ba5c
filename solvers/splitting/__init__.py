"""Methods that take the data and a prior in turn: half-quadratic splitting, ADMM, FISTA."""
