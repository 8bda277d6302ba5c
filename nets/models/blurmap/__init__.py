"""BlurMapNet: one photo to a distribution over radii of defocus in every cell."""
