"""Synthetic defects inside any PyTorch training loop."""
