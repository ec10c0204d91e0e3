"""The state machine of a step: what comes after its call or its look-up. Pure."""
