"""Write trained networks to files, check each file against Keras, and measure their speed."""
