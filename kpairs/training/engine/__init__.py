"""Training steps lowered to graphs of torch operations."""
