"""Fine-tunes and applies one image classifier on one machine from one concrete configuration."""
