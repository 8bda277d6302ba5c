"""GKMNet: unrolled fixed-point steps on a Gaussian kernel mixture whose maps a network predicts."""
