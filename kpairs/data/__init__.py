"""Images and the pairs drawn from them."""
