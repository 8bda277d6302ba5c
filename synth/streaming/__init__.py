"""Training data that are rendered when they are needed: sharp crops, random lenses, layers, a camera."""
