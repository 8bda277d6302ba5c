"""HQSNet: unrolled half-quadratic splitting with a data step by conjugate gradients and a learned prior."""
