"""Optimisers, the training loop, schedules."""
