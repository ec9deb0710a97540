"""What the pages show: records, runs, conversations, page images."""
