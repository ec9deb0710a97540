"""Access control: password, session cookie, proxy headers."""
