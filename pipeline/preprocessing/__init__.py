"""Read documents into upright, deskewed, scaled pages, in guarded worker processes."""
