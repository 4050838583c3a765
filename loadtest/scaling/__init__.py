"""From measured costs to a plan: what so many calls need, which limit comes first, and a simulation that checks it."""
