"""Decodes untrusted photo files, and finds photos that look alike."""
