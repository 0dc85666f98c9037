"""The provider's own API before jobs: programs written for it work with another address and key, and nothing else."""
