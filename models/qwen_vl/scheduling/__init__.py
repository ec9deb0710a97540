"""What runs when: sequences, admission, growth, preemption, vision order, and the replies."""
