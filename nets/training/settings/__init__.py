"""Training settings: records read from TOML, checked, with suggestions for misspelt names."""
