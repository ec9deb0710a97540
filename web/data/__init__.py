"""Data for the pages: records, runs, conversations, page images, exports."""
