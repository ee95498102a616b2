"""Scenario files -> what QEMU would have after each step, and which expectations hold."""
