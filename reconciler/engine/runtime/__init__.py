"""What every part of the engine runs with: context, clocks, pace, pause, and the guard of all writes."""
