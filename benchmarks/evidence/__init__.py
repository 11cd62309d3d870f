"""What the benchmarks of the training share: data in memory, arms, networks, training, scores and their intervals."""
