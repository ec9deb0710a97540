"""What several tests share: documents, browsers, observers, a tiny model."""
