"""How large a fleet has to be: a simulation on measured service times, with the decisions of the real policy."""
