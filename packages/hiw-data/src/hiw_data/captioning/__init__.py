"""Captions of motion: written from motion codes, parsed for their claims, and held against the codes."""
