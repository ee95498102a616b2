"""Random worlds, built and migrated on real QEMUs, held against what the model foretells of them."""
