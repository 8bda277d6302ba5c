"""What a training is told: settings in tables of TOML, read and checked with a suggestion for every slip."""
