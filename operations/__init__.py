"""What keeps Scanmill running on a machine of its own: bundle, doctor, nightly start."""
