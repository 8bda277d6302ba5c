"""The scripts of the gallery draw when they are imported; tests/docs runs them."""

collect_ignore_glob = ["gallery/*", "gallery/*/*"]
