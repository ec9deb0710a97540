"""From a prompt over the reply to a checked record with evidence."""
