"""Training and evaluating: from a recipe to a run folder and back. Nothing is imported here."""
