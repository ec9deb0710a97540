"""From page images or text layers to lines of print and their layout."""
