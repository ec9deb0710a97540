"""Who may see the page: password, cookie, proxy header."""
