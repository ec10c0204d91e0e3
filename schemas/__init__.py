"""What crosses a wire, and nothing else: input events, outcomes, the partner's bodies. No I/O, no clock."""
