"""Labels, comparison, scores and the demo."""
