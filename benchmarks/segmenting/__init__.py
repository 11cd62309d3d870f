"""What the benchmark of segmentation is made of: what is trained, on which pixels, with which network, and how well."""
