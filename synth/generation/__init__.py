"""From a recipe to a folder of samples: splits, shards, workers, merging, and the operator of what was made."""
