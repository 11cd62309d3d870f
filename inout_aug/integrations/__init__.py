"""Pasters as transforms of albumentations, torchvision v2 and kornia; each module needs its library alone."""
