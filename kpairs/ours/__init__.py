"""kpairs' own networks, beyond the reports."""
