"""In-distribution generators: models that learned real defects. They know `Sample` and `Generator`, nothing else."""
