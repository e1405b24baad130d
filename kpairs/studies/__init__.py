"""Studies: many trainings over (architecture, recipe), and what they show beside the reports."""
