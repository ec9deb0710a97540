"""Tables on a page: by headings, by ruled lines, receipts and inline lists."""
