"""Parts of a pair network. Nothing is imported here: `outputs` is free of Keras."""
