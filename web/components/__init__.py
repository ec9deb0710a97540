"""User interface components shared by the pages."""
