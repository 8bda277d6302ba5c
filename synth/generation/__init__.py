"""From scenes to datasets: sources, recipe, samples, workers, preview, and the operator of a sample."""
