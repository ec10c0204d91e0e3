"""How the program is watched: logging, metrics, health, doctor, invariants."""
