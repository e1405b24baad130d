"""What a pair network is made of. Nothing is imported here: `outputs` is free of Keras."""
