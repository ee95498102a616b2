"""Scenario + a QEMU program -> the same steps on real processes, and where these differ from what is simulated."""
