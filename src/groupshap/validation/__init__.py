"""Is the credit right? Attributions and the cheap game against models retrained from scratch: tables and pictures."""
