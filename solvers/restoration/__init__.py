"""From photographs and a defocus map to a picture in focus."""
