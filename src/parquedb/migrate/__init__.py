"""Migration: detect, plan, transfer, verify, clean up."""
