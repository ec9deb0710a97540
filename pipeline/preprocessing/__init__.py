"""From a file to upright, deskewed, fitted pages, in guarded worker processes."""
