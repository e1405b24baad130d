"""Measurements that a user can repeat: ratios between programs, side by side in one process."""
