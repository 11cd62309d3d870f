"""What the generators share: noise schedule, training loop, checkpoints, masks, insertion into hosts."""
